/**
 * Handles over node:sqlite that behave as other drivers do, or as programs set them up.
 *
 * @module
 */
import type { SqliteDatabase, SqliteStatement } from "@lockmgr/lockmgr/sqlite";
import { DatabaseSync } from "node:sqlite";

/** A handle whose statements are changed on their way. */
export function changed(
  database: SqliteDatabase,
  change: (statement: SqliteStatement, sql: string) => SqliteStatement,
): SqliteDatabase {
  const { isTransaction } = database as { isTransaction?: boolean };
  return {
    exec: (sql) => database.exec(sql),
    prepare: (sql) => change(database.prepare(sql), sql),
    close: () => database.close(),
    ...(isTransaction === undefined ? {} : {
      get isTransaction() {
        return (database as { isTransaction?: boolean }).isTransaction;
      },
    }),
  };
}

/** The names of result columns that are JSON by their subtype: those whose whole expression is a call of `json…()`. */
function jsonColumns(sql: string): string[] {
  const names: string[] = [];
  for (const { index, 0: start } of sql.matchAll(/(?:\bSELECT|,|\bRETURNING)\s+json\w*\(/gi)) {
    let depth = 1;
    let end = index + start.length;
    for (; depth > 0 && end < sql.length; end++) depth += sql[end] === "(" ? 1 : sql[end] === ")" ? -1 : 0;
    const name = /^\s*(?:FILTER\b[^]*?)?\bAS\s+(\w+)/i.exec(sql.slice(end))?.[1];
    if (name) names.push(name);
  }
  return names;
}

/** The result columns that are JSON by what the library keeps in them. */
const KEPT_AS_JSON = ["line", "metadata", "others"];

/**
 * A handle that reads as `jsr:@db/sqlite` 0.13 does: columns of JSON come parsed, integers as 32 bits unless `int64` is
 * set, `run` returns a number, a missing row is `undefined`. With `parsed`, columns come parsed that SQLite itself does not
 * know to be JSON.
 */
export function dbSqlite(path: string, { int64 = false, parsed = false } = {}): SqliteDatabase {
  const database = new DatabaseSync(path);
  const read = (row: Record<string, unknown> | undefined, json: string[]) =>
    row && Object.fromEntries(
      Object.entries(row).map(([name, value]) => {
        if (json.includes(name) && typeof value === "string") return [name, JSON.parse(value)];
        return [name, typeof value === "number" && Number.isInteger(value) && !int64 ? value | 0 : value];
      }),
    );
  return {
    exec: (sql) => database.exec(sql),
    prepare(sql) {
      const statement = database.prepare(sql);
      const json = [...jsonColumns(sql), ...parsed ? KEPT_AS_JSON : []];
      return {
        get: (...parameters) => read(statement.get(...parameters as never[]), json),
        all: (...parameters) => statement.all(...parameters as never[]).map((row) => read(row, json)),
        run: (...parameters) => Number(statement.run(...parameters as never[]).changes),
      };
    },
    close: () => database.close(),
    get inTransaction() {
      return database.isTransaction;
    },
  } as SqliteDatabase;
}

/** A handle that says it is of another version of SQLite. */
export function ofVersion(database: SqliteDatabase, version: string): SqliteDatabase {
  return changed(database, (statement, sql) => {
    if (!/sqlite_version/.test(sql)) return statement;
    const row = () => {
      const found = statement.get() as Record<string, unknown>;
      return Object.fromEntries(Object.keys(found).map((name) => [name, version]));
    };
    return { get: row, all: () => [row()], run: (...parameters) => statement.run(...parameters) };
  });
}
