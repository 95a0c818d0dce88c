/**
 * The table, and whether what is there can be used.
 *
 * @module
 */
import { BackendError } from "../../core/errors.ts";
import type { SqliteStatement } from "./connection/driver.ts";

/** Columns that the statements use, the name first. */
export const COLUMNS = [
  "name",
  "owner",
  "token",
  "locked_by",
  "lock_process",
  "locked_until",
  "created_at",
  "updated_at",
  "metadata",
];

/** A checked table name between the quotes of SQL. */
export function quoted(table: string): string {
  return table.split(".").map((part) => `"${part}"`).join(".");
}

/**
 * The DDL: a row for each name, kept when the lock is released so that tokens go on rising. `owner` is NULL while the
 * name is free; `locked_until` is NULL for a lock that never expires. Times are microseconds since 1970.
 *
 * What is held has an index, so that it is listed at once, however many names have been used: 0.3 instead of 47 ms among
 * a million. It is small, and one more page in the log of every commit: 8 % of an acquire and release.
 */
export function schema(table: string): string {
  const [name, ...attached] = table.split(".").reverse();
  return `
CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  name         TEXT    NOT NULL PRIMARY KEY,
  owner        TEXT,
  token        INTEGER NOT NULL,
  locked_by    TEXT    NOT NULL,
  lock_process INTEGER,
  locked_until INTEGER,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL,
  metadata     TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ${quoted([...attached, `${name}_held`].join("."))}
  ON "${name}" (name) WHERE owner IS NOT NULL;
`.trim();
}

/**
 * The database on a handle that has the table: the one that the table is named with, else the first in which SQLite finds
 * a table of that name. Settings and the version of the data are those of one database: `main`, unless it is named.
 */
export function homeOf(database: { prepare(sql: string): SqliteStatement }, table: string): string {
  const [name, schema] = table.split(".").reverse();
  if (schema !== undefined) return schema;
  const found = database.prepare(`
    SELECT database.name AS home FROM pragma_database_list AS database
    JOIN pragma_table_list AS "table" ON "table".schema = database.name
    WHERE "table".name = ? COLLATE NOCASE ORDER BY database.seq <> 1, database.seq LIMIT 1`).get(name);
  return (found as { home: string } | undefined | null)?.home ?? "main";
}

/**
 * Looks at the table.
 *
 * @returns Whether it is there.
 * @throws {BackendError} When it is there with other columns.
 */
export function hasTable(database: { prepare(sql: string): SqliteStatement }, table: string): boolean {
  const [name, attached] = table.split(".").reverse();
  const pragma = `PRAGMA ${attached ? `"${attached}".` : ""}table_info("${name}")`;
  const columns = database.prepare(pragma).all() as { name: string; pk: number | bigint }[];
  if (columns.length === 0) return false;
  const missing = COLUMNS.filter((column) => !columns.some(({ name }) => name === column));
  const keyed = columns.some(({ name, pk }) => name === "name" && Number(pk) === 1);
  if (missing.length > 0 || !keyed) {
    const lack = missing.length > 0 ? `it has no column ${missing.join(", ")}` : "its primary key is not the name";
    throw new BackendError(
      `Cannot use table ${JSON.stringify(table)}: ${lack}; want a table that lockmgr made, or another name`,
    );
  }
  return true;
}
