import type { Backend } from "./backend.ts";
import { BackendError } from "./errors.ts";
import { builtin, stateDirectory } from "./runtime.ts";
import type { BackendSettings } from "./settings.ts";

/** Options of `connect`: the settings that all engines share, and those of the engine at hand. */
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
  "postgres:": async () => (await import("../backends/postgres/mod.ts")).postgresBackend,
  "postgresql:": async () => (await import("../backends/postgres/mod.ts")).postgresBackend,
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
  if (!Object.hasOwn(ENGINES, scheme)) {
    const known = Object.keys(ENGINES).join(" ");
    throw new TypeError(
      `Cannot connect by ${JSON.stringify(scheme)}: want one of ${known}, or the path of an SQLite file`,
    );
  }
  const open = await ENGINES[scheme]();
  return await open(given, options);
}
