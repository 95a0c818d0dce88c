import type { Backend } from "./backend.ts";
import { atWork } from "./verbs/loading.ts";
import type { BackendOptions } from "./options/options.ts";
import { environment } from "./util/runtime.ts";
import type { BackendSettings } from "./options/settings.ts";

/**
 * Options of `connect`: the settings that all engines share, and besides those of the engine at hand, such as
 * `busyTimeout` of `SqliteOptions` or `sessionTimeout` of `PostgresOptions` and `MysqlOptions`.
 *
 * @example
 * ```ts
 * import { connect, type ConnectOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const options: ConnectOptions = { table: "my_locks", busyTimeout: 2 };
 * await using backend = await connect("sqlite::memory:", options);
 * assert.equal(backend.mode, "lease");
 * ```
 */
export interface ConnectOptions extends BackendSettings {
  /** An engine's own option, as its backend function documents it. */
  [option: string]: unknown;
}

/**
 * Opens a database that keeps locks.
 *
 * @example
 * ```ts
 * import { connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:", { table: "my_locks" });
 * await using lock = await getLock("jobs", { backend });
 * assert(lock.held);
 * ```
 *
 * @param target `sqlite:PATH`, `sqlite::memory:`, a bare path, or the URL of a server (`postgres:`, `postgresql:`,
 * `mysql:`, `mariadb:`). Without one: the environment variable `LOCKMGR_URL`, else an SQLite file in the user's state
 * directory, the same for all programs; `LOCKMGR_URL=required` forbids that file.
 * @param options How locks are kept, in which table, and the engine's own options; they win over those in the URL.
 * @returns The backend; disposal closes what was opened for it.
 * @throws {TypeError} For a target that is none of these, an unknown option or an unknown parameter in the URL, before
 * anything is opened. No error shows the user, the password or a parameter's value.
 * @throws {UnsupportedError} For a mode that the engine does not have.
 * @throws {BackendError} When the database cannot be opened.
 */
export function connect(target?: string | URL, options: ConnectOptions = {}): Promise<Backend> {
  return atWork(({ open }) => open(target, options));
}

/**
 * The statements that make the table of locks, for those who run DDL themselves and connect with `migrate: false`.
 * Nothing is opened and nothing is asked.
 *
 * @example
 * ```ts
 * import { schemaOf } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * assert.match(await schemaOf("sqlite:locks.db", { table: "my_locks" }), /^CREATE TABLE IF NOT EXISTS "my_locks"/);
 * ```
 *
 * @param target As for {@linkcode connect}: it tells the engine, and in its `lockmgr_table` the table.
 * @param options The table, if the target does not say.
 * @throws {TypeError} For a scheme that nobody knows or a table that cannot be.
 */
export function schemaOf(target?: string | URL, options: Pick<ConnectOptions, "table"> = {}): Promise<string> {
  return atWork(({ schemaFor }) => schemaFor(target, options));
}

/**
 * Returns the database that {@linkcode connect} would open, as it may be shown: scheme, host, port and database, or the
 * path of the file. Nothing is opened.
 *
 * @example
 * ```ts
 * import { describeTarget } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const shown = await describeTarget("postgres://app:secret@db.example.org:5432/app?sslmode=require");
 * assert.equal(shown, "postgres://db.example.org:5432/app");
 * ```
 *
 * @param target As for {@linkcode connect}; without one, the default database.
 * @throws {TypeError} For what is no target.
 * @throws {BackendError} When there is no default database.
 */
export function describeTarget(target?: string | URL): Promise<string> {
  return atWork(({ describeFor }) => describeFor(target));
}

let chosen: Backend | undefined;
let opened: { readonly target: string | undefined; readonly backend: Promise<Backend> } | undefined;

/**
 * Sets the backend that calls without one use from now on; `undefined` goes back to `LOCKMGR_URL` or the embedded file.
 * The backend stays the caller's: it is not closed here.
 *
 * @example
 * ```ts
 * import { connect, isLocked, setDefaultBackend } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * setDefaultBackend(backend);
 * assert.equal(await isLocked("jobs"), false);
 * setDefaultBackend(undefined);
 * ```
 *
 * @param backend The backend, or `undefined` to forget the one that was set.
 */
export function setDefaultBackend(backend: Backend | undefined): void {
  chosen = backend;
}

/** The backend that a call was given, or all calls; `undefined` when there is none. */
export function givenBackend(options: BackendOptions): Backend | undefined {
  return options.backend ?? chosen;
}

/** The backend a call shall use: its own, else the default one, opened once and again after a failure. */
export function backendOf(options: BackendOptions): Backend | Promise<Backend> {
  const given = givenBackend(options);
  if (given) return given;
  const target = environment("LOCKMGR_URL")?.trim() || undefined;
  if (opened === undefined || opened.target !== target) {
    const backend = connect(target);
    const attempt = opened = { target, backend };
    backend.catch(() => {
      if (opened === attempt) opened = undefined;
    });
  }
  return opened.backend;
}
