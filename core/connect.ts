import type { Backend } from "./backend.ts";
import { BackendError } from "./errors.ts";
import { builtin, stateDirectory } from "./runtime.ts";
import { type BackendSettings, resolveSettings, takeSettings } from "./settings.ts";

/**
 * Options of `connect`: the settings that all engines share, and those of the engine at hand.
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

/** Makes a backend from a target of its own kind. */
type Open = (target: string, options: ConnectOptions) => Backend | Promise<Backend>;

/** The engines by the schemes of their URLs, each loaded when it is first wanted: loading a driver takes 20 to 45 ms. */
const ENGINES: Record<string, () => Promise<Open>> = {
  "sqlite:": async () => (await import("../backends/sqlite/mod.ts")).sqliteBackend,
  "file:": async () => (await import("../backends/sqlite/mod.ts")).sqliteBackend,
  "mysql:": async () => (await import("../backends/mysql/mod.ts")).mysqlBackend,
  "mariadb:": async () => (await import("../backends/mysql/mod.ts")).mysqlBackend,
  "postgres:": async () => (await import("../backends/postgres/mod.ts")).postgresBackend,
  "postgresql:": async () => (await import("../backends/postgres/mod.ts")).postgresBackend,
};

/** The statements that make a table, by the schemes of the engines' URLs. */
const SCHEMAS: Record<string, () => Promise<(table: string) => string>> = {
  "sqlite:": async () => (await import("../backends/sqlite/schema.ts")).schema,
  "file:": async () => (await import("../backends/sqlite/schema.ts")).schema,
  "mysql:": async () => (await import("../backends/mysql/schema.ts")).schema,
  "mariadb:": async () => (await import("../backends/mysql/schema.ts")).schema,
  "postgres:": async () => (await import("../backends/postgres/schema.ts")).schema,
  "postgresql:": async () => (await import("../backends/postgres/schema.ts")).schema,
};

/** The scheme of a URL; a bare path has none, nor has a drive letter. */
function schemeOf(target: string): string | undefined {
  return /^[A-Za-z][A-Za-z0-9+.-]+:/.exec(target)?.[0].toLowerCase();
}

/** The embedded default: one file for all programs of this user, whatever their working directory. */
async function defaultTarget(): Promise<string> {
  const directory = stateDirectory();
  const files = builtin<typeof import("node:fs/promises")>("node:fs/promises");
  try {
    await files?.mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new BackendError(
      `Cannot make the state directory ${JSON.stringify(directory)}: ${(cause as Error).message}; want LOCKMGR_URL`,
      { cause },
    );
  }
  return `${directory}/locks.db`;
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
 * @param target `sqlite:PATH`, `sqlite::memory:` or a bare path; without one an SQLite file in the user's state directory.
 * @param options How locks are kept, in which table, and the engine's own options; they win over those in the URL.
 * @returns The backend; disposal closes what was opened for it.
 * @throws {TypeError} For a scheme or an option that nobody knows, before anything is opened.
 * @throws {UnsupportedError} For a mode that the engine does not have.
 * @throws {BackendError} When the database cannot be opened.
 */
export async function connect(target?: string | URL, options: ConnectOptions = {}): Promise<Backend> {
  const given = target === undefined ? await defaultTarget() : String(target);
  if (given === "") throw new TypeError("Cannot connect to an empty target: want a URL or the path of an SQLite file");
  const scheme = schemeOf(given);
  if (scheme === undefined) {
    const open = await ENGINES["sqlite:"]();
    return await open(given, options);
  }
  const open = await engineOf(ENGINES, scheme)();
  return await open(given, options);
}

/** What a scheme stands for. */
function engineOf<T>(engines: Record<string, T>, scheme: string): T {
  if (Object.hasOwn(engines, scheme)) return engines[scheme];
  const known = Object.keys(engines).join(" ");
  throw new TypeError(
    `Cannot connect by ${JSON.stringify(scheme)}: want one of ${known}, or the path of an SQLite file`,
  );
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
export async function schemaOf(target?: string | URL, options: Pick<ConnectOptions, "table"> = {}): Promise<string> {
  const given = target === undefined ? "" : String(target);
  const make = await engineOf(SCHEMAS, schemeOf(given) ?? "sqlite:")();
  const parameters = new URLSearchParams(/\?([^#]*)/.exec(given)?.[1] ?? "");
  return make(resolveSettings({ ...takeSettings(parameters), ...options }).table);
}
