/**
 * What names an SQLite database, and what may be said about it.
 *
 * @module
 */
import { type BackendSettings, refuseUnknown, resolveSettings, takeSettings } from "../../core/settings.ts";
import { UnsupportedError } from "../../core/errors.ts";

/**
 * How an SQLite backend is set up.
 *
 * @example
 * ```ts
 * import { sqliteBackend, type SqliteOptions } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * const options: SqliteOptions = { table: "my_locks", busyTimeout: 2 };
 * await using backend = await sqliteBackend(":memory:", options);
 * assert.equal(backend.engine, "sqlite");
 * ```
 */
export interface SqliteOptions extends BackendSettings {
  /** What opens the file: the runtime's own SQLite, or `"@db/sqlite"` on Deno. @default "node:sqlite" */
  driver?: string;
  /** Seconds to go on trying while another process keeps the file locked. The event loop is never stopped. @default 5 */
  busyTimeout?: number;
}

const OWN_OPTIONS = ["driver", "busyTimeout"];
const DEFAULT_BUSY_TIMEOUT = 5;

/** The path and options that a target says: `sqlite:PATH?…`, a `file:` URL, or a bare path. */
export function parseTarget(target: string): { path: string; options: SqliteOptions } {
  if (/^file:/i.test(target)) {
    const url = new URL(target);
    return { path: decodeURIComponent(url.pathname), options: parseQuery(url.searchParams) };
  }
  const match = /^sqlite:(?:\/\/(?=\/))?([^?]*)(?:\?(.*))?$/is.exec(target);
  if (match === null) return { path: target, options: {} };
  return { path: decodeURIComponent(match[1]), options: parseQuery(new URLSearchParams(match[2] ?? "")) };
}

function parseQuery(parameters: URLSearchParams): SqliteOptions {
  const settings = takeSettings(parameters);
  const driver = parameters.get("driver");
  parameters.delete("driver");
  for (const key of parameters.keys()) {
    throw new TypeError(`Cannot use URL parameter ${JSON.stringify(key)} on SQLite: want driver or lockmgr_…`);
  }
  return driver === null ? settings : { ...settings, driver };
}

/** The options after their checks. */
export interface ResolvedOptions {
  /** The table that holds the locks. */
  readonly table: string;
  /** Whether the table may be made. */
  readonly migrate: boolean;
  /** What opens the file. */
  readonly driver: string;
  /** Seconds to go on trying while the file is locked. */
  readonly busyTimeout: number;
}

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {TypeError | RangeError} For an option that nobody knows, or a value that cannot be.
 * @throws {UnsupportedError} For a mode other than `"lease"`.
 */
export function resolveOptions(options: SqliteOptions): ResolvedOptions {
  refuseUnknown("SQLite", options, OWN_OPTIONS);
  const { mode, table, migrate } = resolveSettings(options);
  if (mode !== "lease") {
    throw new UnsupportedError(`Cannot use "${mode}" mode on SQLite: it has no session locks; want "lease"`);
  }
  const { driver = "node:sqlite", busyTimeout = DEFAULT_BUSY_TIMEOUT } = options;
  if (typeof busyTimeout !== "number" || !(busyTimeout >= 0)) {
    throw new RangeError(`Cannot use busyTimeout ${String(busyTimeout)}: want seconds, 0 or more`);
  }
  return { table, migrate, driver, busyTimeout };
}
