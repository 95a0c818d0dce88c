/**
 * The lock table.
 *
 * @module
 */
import { type Found, judgeTable } from "../shared/found_table.ts";
import type { SqliteStatement } from "./connection/driver.ts";

/** The columns that every version has, with their types, the name first. */
export const COLUMNS: Readonly<Record<string, string>> = {
  name: "TEXT    NOT NULL PRIMARY KEY",
  owner: "TEXT",
  token: "INTEGER NOT NULL",
  locked_by: "TEXT    NOT NULL",
  lock_process: "INTEGER",
  locked_until: "INTEGER",
  created_at: "INTEGER NOT NULL",
  updated_at: "INTEGER NOT NULL",
  metadata: "TEXT",
};

/** The columns of queues, with their types, which tables of earlier versions lack. */
export const QUEUE_COLUMNS: Readonly<Record<string, string>> = {
  slots: "INTEGER",
  first_token: "INTEGER",
  line_owner: "TEXT",
  line: "TEXT CHECK (line IS NULL OR owner IS NULL OR line_owner IS owner)",
};

/** A checked table name between the quotes of SQL. */
export function quoted(table: string): string {
  return table.split(".").map((part) => `"${part}"`).join(".");
}

/**
 * The DDL: a row for each name, kept when the lock is released, so tokens keep rising. `owner` is NULL while the name is
 * free; `locked_until` is NULL for a lock that never expires. Times are microseconds since 1970.
 *
 * The index lists the locks that are held in 0.3 ms among a million names, instead of 47. It costs one more page in the
 * log of every commit: 8 % of an acquire and release.
 *
 * `line` has the further holders and the waiters as JSON, and is NULL for an exclusive lock without waiters. Then so are
 * `slots`, the first holder's limit, and `first_token`, its token, of which `token` is the highest. The check refuses
 * earlier versions of this library, which know nothing of a line, when they would give its name away.
 */
export function schema(table: string): string {
  const [name, ...attached] = table.split(".").reverse();
  const columns = Object.entries({ ...COLUMNS, ...QUEUE_COLUMNS });
  return `
CREATE TABLE IF NOT EXISTS ${quoted(table)} (
${columns.map(([column, type]) => `  ${column.padEnd(12)} ${type}`).join(",\n")}
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ${quoted([...attached, `${name}_held`].join("."))}
  ON "${name}" (name) WHERE owner IS NOT NULL;
`.trim();
}

/** The DDL for a table of an earlier version; locks that are held stay held. */
export function upgrade(table: string): string {
  return Object.entries(QUEUE_COLUMNS)
    .map(([column, type]) => `ALTER TABLE ${quoted(table)} ADD COLUMN ${column} ${type};`).join("\n");
}

/** The DDL of a new table, and as a comment what upgrades an old one. */
export function printedSchema(table: string): string {
  return `${schema(table)}\n\n-- A table of an earlier version:\n${upgrade(table).replace(/^/gm, "-- ")}`;
}

/**
 * Returns which database on a handle has the table: the one in the table's name, else the first in which SQLite finds
 * the table. `PRAGMA` reads settings and `data_version` of `main` unless a database is named.
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
 * Returns whether the table exists.
 *
 * @throws {BackendError} When it has other columns.
 */
export function findTable(database: { prepare(sql: string): SqliteStatement }, table: string): Found {
  const [name, attached] = table.split(".").reverse();
  const pragma = `PRAGMA ${attached ? `"${attached}".` : ""}table_info("${name}")`;
  const columns = database.prepare(pragma).all() as { name: string; pk: number | bigint }[];
  if (columns.length === 0) return "none";
  const present = columns.map(({ name }) => name);
  const keyed = columns.some(({ name, pk }) => name === "name" && Number(pk) === 1);
  const defect = keyed ? undefined : "its primary key is not the name";
  return judgeTable(table, present, Object.keys(COLUMNS), Object.keys(QUEUE_COLUMNS), defect);
}
