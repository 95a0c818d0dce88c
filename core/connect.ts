/**
 * Opens backends. This module alone names the engines, each of which is loaded when it is first used.
 *
 * @module
 */
import type { Backend } from "./backend.ts";
import type { ConnectOptions, Engine } from "./engine.ts";
import { BackendError, UnsupportedError } from "./errors.ts";
import type { BackendOptions } from "./options/options.ts";
import { checkBackend, checkVerbOptions, requireObject } from "./options/known_options.ts";
import { resolveSettings, SETTING_OPTIONS } from "./options/settings.ts";
import { addScheme, describe, parseTarget } from "./options/target.ts";
import { printOpening } from "./events/print_events.ts";
import { builtin, environment, stateDirectory } from "./util/runtime.ts";

/** Loads the engines by the schemes of their URLs. */
const ENGINES: Readonly<Record<string, () => Promise<{ readonly engine: Engine }>>> = {
  "sqlite:": () => import("../backends/sqlite/mod.ts"),
  "file:": () => import("../backends/sqlite/mod.ts"),
  "postgres:": () => import("../backends/postgres/mod.ts"),
  "postgresql:": () => import("../backends/postgres/mod.ts"),
  "mysql:": () => import("../backends/mysql/mod.ts"),
  "mariadb:": () => import("../backends/mysql/mod.ts"),
};

/** The engines of third parties, by their schemes. */
const registered = new Map<string, Engine>();

async function engineFor(scheme: string): Promise<Engine> {
  return registered.get(scheme) ?? (await ENGINES[scheme]()).engine;
}

/**
 * Registers an engine, so that `connect` and `LOCKMGR_URL` accept its URLs.
 *
 * @example
 * ```ts
 * import { connect, registerEngine } from "@lockmgr/lockmgr";
 * import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * registerEngine("scratch:", { open: () => sqliteBackend(":memory:") });
 * await using backend = await connect("scratch:");
 * assert.equal(backend.engine, "sqlite");
 * ```
 *
 * @param scheme The scheme of its URLs in lower case, with the colon, such as `"etcd:"`.
 * @param engine What opens them. It replaces one that was registered before for the same scheme.
 * @throws {TypeError} For a scheme that is malformed or one of lockmgr's own, and for an engine without `open`.
 */
export function registerEngine(scheme: string, engine: Engine): void {
  if (!/^[a-z][a-z0-9+.-]+:$/.test(scheme) || Object.hasOwn(ENGINES, scheme)) {
    throw new TypeError(
      `Cannot register an engine for scheme ${JSON.stringify(scheme)}: want lower-case letters, digits, "+", "." or ` +
        `"-" and a colon at the end, and none of ${Object.keys(ENGINES).join(" ")}`,
    );
  }
  if (typeof engine?.open !== "function") {
    throw new TypeError(`Cannot register an engine for scheme "${scheme}": want an object with a function "open"`);
  }
  registered.set(scheme, engine);
  addScheme(scheme);
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
 * @param target `sqlite:PATH`, `sqlite::memory:`, a bare path, the URL of a server (`postgres:`, `postgresql:`,
 * `mysql:`, `mariadb:`), or of a registered engine. Without one: the environment variable `LOCKMGR_URL`, else an SQLite
 * file in the user's state directory, the same for all programs; `LOCKMGR_URL=required` forbids that file.
 * @param options How locks are kept, in which table, and the engine's own options; they override those in the URL.
 * @returns The backend; disposal closes what was opened for it.
 * @throws {TypeError} For a target that is none of these, an unknown option or an unknown parameter in the URL, before
 * anything is opened. No error shows the user, the password or a parameter's value.
 * @throws {UnsupportedError} For a mode that the engine does not have.
 * @throws {BackendError} When the database cannot be opened.
 */
export async function connect(target?: string | URL, options: ConnectOptions = {}): Promise<Backend> {
  requireObject("of connect", options, SETTING_OPTIONS); // the engine knows which there are
  const chosen = chosenTarget(target);
  await printOpening(() => describeTarget(target));
  if (chosen === undefined) return await openDefaultFile(options);
  const { scheme, text } = parseTarget(chosen);
  const engine = await engineFor(scheme);
  return await engine.open(text, options);
}

/**
 * Returns the statements that create the lock table, to run by hand where `connect` has `migrate: false`. Nothing is
 * opened.
 *
 * @example
 * ```ts
 * import { schemaOf } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * assert.match(await schemaOf("sqlite:locks.db", { table: "my_locks" }), /^CREATE TABLE IF NOT EXISTS "my_locks"/);
 * ```
 *
 * @param target As for {@linkcode connect}: it names the engine, and in its `lockmgr_table` the table.
 * @param options The table, which overrides the target's.
 * @throws {TypeError} For an unknown scheme or a malformed table name.
 * @throws {UnsupportedError} For a registered engine without a schema.
 */
export async function schemaOf(
  target?: string | URL,
  options: Pick<ConnectOptions, "table"> = {},
): Promise<string> {
  checkVerbOptions("schemaOf", options);
  const chosen = chosenTarget(target);
  const { scheme, settings, parameters } = parseTarget(chosen === undefined ? "sqlite::memory:" : chosen);
  const engine = await engineFor(scheme);
  if (engine.schema === undefined) throw new UnsupportedError(`Cannot show a schema: ${scheme} has none`);
  return engine.schema(resolveSettings({ ...settings, ...options }).table, parameters);
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
// deno-lint-ignore require-await -- what is thrown must reject
export async function describeTarget(target?: string | URL): Promise<string> {
  const chosen = chosenTarget(target);
  return describe(parseTarget(chosen === undefined ? defaultFile().target : chosen));
}

/** Returns the given target, else that of the environment, else `undefined` for the default file. */
function chosenTarget(target: unknown): unknown {
  const chosen = target === undefined ? environment("LOCKMGR_URL")?.trim() || undefined : target;
  if (typeof chosen !== "string" || !/^required$/i.test(chosen.trim())) return chosen;
  throw new BackendError(
    "Cannot use the default database: LOCKMGR_URL=required forbids it, and no other was named; " +
      "want LOCKMGR_URL to be the database's URL, or a backend passed to the call",
  );
}

/** The default database: one file for all programs of this user, whatever their working directory. */
function defaultFile(): { readonly directory: string; readonly target: string } {
  try {
    const directory = stateDirectory();
    return { directory, target: `sqlite:${encodeURI(`${directory}/locks.db`).replace(/[?#]/g, encodeURIComponent)}` };
  } catch (cause) {
    throw new BackendError(
      `Cannot find the state directory for the default database: ${(cause as Error).message}; want LOCKMGR_URL`,
      { cause },
    );
  }
}

/** Opens the default file, whose directory is made only when the file cannot be opened: the options are valid then. */
async function openDefaultFile(options: ConnectOptions): Promise<Backend> {
  const { directory, target } = defaultFile();
  const engine = await engineFor("sqlite:");
  try {
    return await engine.open(target, options);
  } catch (error) {
    if (!(error instanceof BackendError)) throw error;
  }
  const files = builtin<typeof import("node:fs/promises")>("node:fs/promises");
  try {
    await files?.mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new BackendError(
      `Cannot make the state directory ${JSON.stringify(directory)}: ${(cause as Error).message}; want LOCKMGR_URL`,
      { cause },
    );
  }
  return await engine.open(target, options);
}

let defaultBackend: Backend | undefined;
let opened: { readonly target: string | undefined; readonly backend: Promise<Backend> } | undefined;

/**
 * Sets the backend for calls that are not given one; `undefined` restores `LOCKMGR_URL` or the default file. The backend
 * stays the caller's: it is not closed here.
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
 * @throws {TypeError} For what is no backend, such as the promise that `connect` returns.
 */
export function setDefaultBackend(backend: Backend | undefined): void {
  if (backend !== undefined) checkBackend(backend);
  defaultBackend = backend;
}

/** Returns the backend that was given to this call, or was set for all calls. */
export function givenBackend(options: BackendOptions): Backend | undefined {
  return options.backend ?? defaultBackend;
}

/** Returns the backend for a call: its own, else the default one, opened once and again after a failure. */
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
