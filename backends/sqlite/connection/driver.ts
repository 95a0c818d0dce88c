/**
 * The interface to SQLite drivers, and how one is opened. No driver is imported.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { hasMethods } from "../../../core/options/refused_client.ts";
import { builtin } from "../../../core/util/runtime.ts";
import { openingError } from "../errors.ts";

/**
 * A prepared statement, as far as it is used here.
 *
 * @example
 * ```ts
 * import type { SqliteDatabase, SqliteStatement } from "@lockmgr/lockmgr/sqlite";
 * import { DatabaseSync } from "node:sqlite";
 * import assert from "node:assert/strict";
 *
 * using database = new DatabaseSync(":memory:");
 * const statement: SqliteStatement = (database as SqliteDatabase).prepare("SELECT ? + 1 AS next");
 * assert.equal((statement.get(6) as { next: number }).next, 7);
 * ```
 */
export interface SqliteStatement {
  /** Runs it and returns the first row, `undefined` or `null` when there is none. */
  get(...parameters: unknown[]): unknown;
  /** Runs it and returns every row. */
  all(...parameters: unknown[]): unknown[];
  /** Runs it without rows. Drivers return the number of changed rows, or an object with it as `changes`. */
  run(...parameters: unknown[]): unknown;
}

/**
 * An SQLite database, as far as it is used here: `DatabaseSync` of `node:sqlite`, `Database` of `bun:sqlite`,
 * better-sqlite3 and `jsr:@db/sqlite` all have this shape.
 *
 * @example
 * ```ts
 * import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
 * import { DatabaseSync } from "node:sqlite";
 * import assert from "node:assert/strict";
 *
 * using database = new DatabaseSync(":memory:");
 * const shape: SqliteDatabase = database; // nothing more is needed of a driver
 * await using backend = await sqliteBackend(shape);
 * assert.deepEqual(await backend.list({}), []);
 * ```
 */
export interface SqliteDatabase {
  /** Runs SQL without rows. */
  exec(sql: string): unknown;
  /** Prepares one statement with `?` parameters. */
  prepare(sql: string): SqliteStatement;
  /** Closes the database; never called on a handle of the caller. */
  close(): unknown;
}

/** Whether a value has the shape of an SQLite database. */
export function isDatabase(value: unknown): value is SqliteDatabase {
  return hasMethods(value, ["exec", "prepare"]);
}

/** Whether a transaction is open on the handle; `undefined` when it was closed: the next statement reports that. */
export function inTransaction(database: SqliteDatabase): boolean | undefined {
  try {
    const { isTransaction, inTransaction } = database as { isTransaction?: boolean; inTransaction?: boolean };
    const known = isTransaction ?? inTransaction;
    if (known !== undefined) return known;
    database.exec("BEGIN; COMMIT"); // node:sqlite has no such property before Node 22.16
    return false;
  } catch (error) {
    return /within a transaction/.test(String(error)) || undefined;
  }
}

/** The runtime's own SQLite. */
function openBuiltIn(path: string): SqliteDatabase {
  const sqlite = builtin<typeof import("node:sqlite")>("node:sqlite");
  if (sqlite === undefined) {
    throw new BackendError(
      "Cannot open an SQLite database: this runtime has no node:sqlite; want Deno 2.2, Node 22.13 or Bun 1.4 or newer, " +
        "or pass a handle of better-sqlite3 or another driver to sqliteBackend()",
    );
  }
  return new sqlite.DatabaseSync(path, { timeout: 0 });
}

/** `jsr:@db/sqlite`, by the program's own import map or else from the registry. */
async function openDbSqlite(path: string): Promise<SqliteDatabase> {
  const failures: unknown[] = [];
  for (const specifier of ["@db/sqlite", "jsr:@db/sqlite@^0.13.0"]) {
    let Database;
    try {
      ({ Database } = await import(/* webpackIgnore: true */ specifier)); // else a warning at each build
    } catch (error) {
      failures.push(error);
      continue;
    }
    return new Database(path, { int64: true });
  }
  throw new BackendError(
    'Cannot load the driver "@db/sqlite": run "deno add jsr:@db/sqlite" on Deno with --allow-ffi, or leave the driver out ' +
      "to use the runtime's own SQLite",
    { cause: new AggregateError(failures, "Cannot import it by any name") },
  );
}

/** The drivers that can be named. */
const DRIVERS: Record<string, (path: string) => SqliteDatabase | Promise<SqliteDatabase>> = {
  "node:sqlite": openBuiltIn,
  "@db/sqlite": openDbSqlite,
};

/** Whether a driver has that name. */
export function isDriver(name: string): boolean {
  return Object.hasOwn(DRIVERS, name);
}

/**
 * Opens a database file with a driver by name.
 *
 * @throws {TypeError} For an unknown driver.
 * @throws {BackendError} When the driver cannot be loaded or the file cannot be opened.
 */
export async function openDatabase(path: string, driver: string): Promise<SqliteDatabase> {
  if (!isDriver(driver)) {
    const known = Object.keys(DRIVERS).map((name) => JSON.stringify(name)).join(" or ");
    throw new TypeError(`Cannot use SQLite driver ${JSON.stringify(driver)}: want ${known}`);
  }
  try {
    return await DRIVERS[driver](path);
  } catch (error) {
    throw error instanceof BackendError ? error : openingError(path, error);
  }
}
