/**
 * What names an SQLite database, and how it is opened.
 *
 * @module
 */
import { type KnownOptions, nearestOf } from "../../core/options/known_options.ts";
import {
  type BackendSettings,
  numberBetween,
  resolveSettings,
  SETTING_OPTIONS,
  SETTING_PARAMETERS,
} from "../../core/options/settings.ts";
import { parseTargetOf } from "../../core/options/target.ts";
import { UnsupportedError } from "../../core/errors.ts";
import { isDriver } from "./connection/driver.ts";

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

/** The options. */
export const OPTIONS: KnownOptions<SqliteOptions> = { ...SETTING_OPTIONS, driver: "string", busyTimeout: "number" };

const DEFAULT_BUSY_TIMEOUT = 5;

/** Parameters of other SQLite clients that are ignored: they size and time out a connection pool. */
const DROPPED = ["connection_limit", "pool_timeout", "socket_timeout"];

/**
 * Returns the path and the options in a target: `sqlite:PATH?…`, a `file:` URL, or a bare path.
 *
 * @throws {TypeError} For a target of another kind, or an unknown parameter, which is named without its value.
 */
export function parseFile(target: string | URL): { path: string; options: SqliteOptions } {
  const { path, parameters, settings } = parseTargetOf(target, "file", ["sqlite:"]);
  const driver = parameters.get("driver");
  for (const key of parameters.keys()) {
    if (key === "driver" || DROPPED.includes(key)) continue;
    const wanted = nearestOf(key, ["driver", ...SETTING_PARAMETERS]);
    throw new TypeError(`Cannot use URL parameter ${JSON.stringify(key)} on SQLite: want ${wanted}`);
  }
  if (driver !== undefined && !isDriver(driver)) {
    throw new TypeError('Cannot use URL parameter "driver" on SQLite: want node:sqlite or @db/sqlite');
  }
  return { path, options: driver === undefined ? settings : { ...settings, driver } };
}

/**
 * Checks the options and fills in the defaults.
 *
 * @throws {TypeError | RangeError} For an invalid value.
 * @throws {UnsupportedError} For a mode other than `"lease"`.
 */
export function resolveOptions(options: SqliteOptions): Required<Omit<SqliteOptions, "mode">> {
  const { mode, table, migrate } = resolveSettings(options);
  if (mode !== "lease") {
    throw new UnsupportedError(`Cannot use "${mode}" mode on SQLite: it has no session locks; want "lease"`);
  }
  const { driver = "node:sqlite" } = options;
  const busyTimeout = numberBetween("busyTimeout", options.busyTimeout, DEFAULT_BUSY_TIMEOUT, 0, Infinity);
  return { table, migrate, driver, busyTimeout };
}
