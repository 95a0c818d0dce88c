import type { Backend } from "../../core/backend.ts";
import type { Engine } from "../../core/engine.ts";
import { RowBackend } from "./rows/row_backend.ts";
import { Connection } from "./connection/connection.ts";
import { DatabaseFile } from "./connection/database_file.ts";
import { isDatabase, openDatabase, type SqliteDatabase } from "./connection/driver.ts";
import { identify } from "../../core/util/runtime.ts";
import { checkOptions } from "../../core/options/known_options.ts";
import { refuseOrm } from "../../core/options/refused_client.ts";
import { homeOf, printedSchema } from "./schema.ts";
import { OPTIONS, parseFile, resolveOptions, type SqliteOptions } from "./options.ts";

/** SQLite's path of the database that has the table; `undefined` for one in memory. */
function fileOf(connection: Connection, table: string): string | undefined {
  connection.home = homeOf(connection, table);
  const sql = "SELECT name AS name, file AS file FROM pragma_database_list";
  const all = connection.prepare(sql).all() as { name: string; file: string | null }[];
  return all.find(({ name }) => name.toLowerCase() === connection.home.toLowerCase())?.file || undefined;
}

/** Begins to check the file that was opened, unless the program may not read its directory. */
function watchFile(connection: Connection, path: string | undefined, file: string): DatabaseFile | undefined {
  const shown = path !== undefined && /^([/\\]|[A-Za-z]:)/.test(path) ? path : file;
  const opened = identify(shown);
  return opened
    ? new DatabaseFile(shown, file, opened, () => connection.pragma(connection.atHome("journal_mode")) === "wal")
    : undefined;
}

/**
 * Keeps locks in an SQLite database.
 *
 * @example
 * ```ts
 * import { getLock } from "@lockmgr/lockmgr";
 * import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * await using backend = await sqliteBackend(":memory:", { table: "my_locks" });
 * await using lock = await getLock("jobs", { backend });
 * assert.equal(backend.engine, "sqlite");
 * ```
 *
 * @param target A path, `sqlite:PATH`, `:memory:`, or an open database of node:sqlite, bun:sqlite, better-sqlite3 or
 * `@db/sqlite`, which stays open, and whose settings are restored after each statement.
 * @param options The table, and how the file is opened.
 * @returns The backend; its disposal closes the file.
 * @throws {TypeError} For an unknown option.
 * @throws {UnsupportedError} For a mode other than `"lease"`: SQLite has no session locks.
 * @throws {BackendError} When the file cannot be opened or is no SQLite database.
 */
export async function sqliteBackend(
  target: string | URL | SqliteDatabase,
  options: SqliteOptions = {},
): Promise<Backend> {
  checkOptions("on SQLite", options, OPTIONS);
  const named = typeof target === "string" || target instanceof URL;
  const parsed = named ? parseFile(target) : { path: undefined, options: {} };
  const { table, migrate, driver, busyTimeout } = resolveOptions({ ...parsed.options, ...options });
  if (parsed.path === undefined && !isDatabase(target)) {
    const what = "use this as an SQLite database";
    const wanted = "a path or an open database handle";
    throw refuseOrm(what, target, wanted) ?? new TypeError(`Cannot ${what}: want ${wanted}`);
  }
  const database = parsed.path === undefined ? target as SqliteDatabase : await openDatabase(parsed.path, driver);
  const connection = new Connection(database, parsed.path, busyTimeout);
  try {
    const what = parsed.path === undefined
      ? "use this database handle"
      : `open database ${JSON.stringify(parsed.path)}`;
    await connection.inspect(what);
    const file = await connection.attempt(what, () => fileOf(connection, table));
    if (file !== undefined) {
      connection.file = watchFile(connection, parsed.path, file);
      if (connection.owned) await connection.attempt(what, () => database.exec("PRAGMA journal_mode = WAL"));
    }
    return new RowBackend(connection, table, migrate);
  } catch (error) {
    connection.close();
    throw error;
  }
}

/**
 * What `connect` loads for the URLs of SQLite.
 *
 * @example
 * ```ts
 * import { engine } from "@lockmgr/lockmgr/sqlite";
 * import assert from "node:assert/strict";
 *
 * assert.match(engine.schema!("my_locks"), /CREATE TABLE/);
 * ```
 */
export const engine: Engine = { open: sqliteBackend, schema: printedSchema };
