/**
 * The table, and whether what is there can be used.
 *
 * @module
 */
import { BackendError } from "../../core/errors.ts";
import { bytes, EVERY_ROW, quoted } from "./connection/sql.ts";

/** Columns that the statements use. */
const COLUMNS = [
  "name",
  "owner",
  "token",
  "locked_by",
  "lock_process",
  "locked_until",
  "created_at",
  "updated_at",
  "metadata",
  "session",
  "connection_id",
  "listed",
];

/**
 * The DDL: a row for each name, kept when the lock is released so that tokens go on rising. Names are bytes of UTF-8,
 * because collations fold case and ignore trailing spaces. `owner` is the secret of the last acquisition; `locked_until`
 * is NULL for a lock that never expires and 0 for a released one; times are microseconds since 1970. `session` names the
 * GET_LOCK that the holder's connection keeps (`hybrid`).
 *
 * The index finds what is held among a million rows; an index on what every acquisition changes would cost a crowd half
 * as much again. Therefore it looks at `listed`: 0 is free, 1 held, and 2 a name that is taken often, held or free.
 */
export function lockSchema(table: string): string {
  return `
CREATE TABLE IF NOT EXISTS ${quoted(table)} (
  name          VARBINARY(1020) NOT NULL PRIMARY KEY,
  owner         VARBINARY(64) NOT NULL,
  token         BIGINT NOT NULL,
  locked_by     VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  lock_process  BIGINT,
  locked_until  BIGINT,
  created_at    BIGINT NOT NULL,
  updated_at    BIGINT NOT NULL,
  metadata      LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  session       VARBINARY(64),
  connection_id BIGINT,
  listed        TINYINT NOT NULL DEFAULT 1,
  INDEX listed (listed, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
`.trim();
}

/** The longest name of a table, in characters. */
const LONGEST_NAME = 64;

/** The table that session locks have their tokens from, in the lock table's database. */
export function tokenTable(table: string): string {
  const [name, ...database] = table.split(".").reverse();
  return [...database, `${name.slice(0, LONGEST_NAME - "_tokens".length)}_tokens`].join(".");
}

/**
 * The DDL of the one row from which session locks derive their tokens: `base` and `first` begin an epoch, `reserved` is
 * above all of its tokens, `sessions` are the GET_LOCKs of the connections that draw in it.
 */
export function tokenSchema(table: string): string {
  return `
CREATE TABLE IF NOT EXISTS ${quoted(tokenTable(table))} (
  id       TINYINT NOT NULL PRIMARY KEY,
  base     BIGINT NOT NULL,
  first    BIGINT UNSIGNED NOT NULL,
  reserved BIGINT NOT NULL,
  sessions MEDIUMBLOB NOT NULL,
  revision BIGINT NOT NULL
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
`.trim();
}

/** The DDL of all that a lock table needs. */
export function schema(table: string): string {
  return `${lockSchema(table)}\n${tokenSchema(table)}`;
}

/** SQL that is whether a column of the server's own tables has this name, in any case where case does not count. */
function isNamed(column: string, name: string): string {
  const same = `${column} = CONVERT(${bytes(name)} USING utf8mb4)`;
  return `${same} AND (@@lower_case_table_names <> 0 OR CAST(${column} AS BINARY) = ${bytes(name)})`;
}

/** Reads the columns of the table, and the indexes with the columns that they begin with. */
export function columnsOf(table: string): string {
  const [name, database] = table.split(".").reverse();
  const within = database ? isNamed("table_schema", database) : "table_schema = DATABASE()";
  const condition = `${within} AND ${isNamed("table_name", name)}`;
  return `SELECT LOWER(column_name), LOWER(column_type), LOWER(column_key)
    FROM information_schema.columns WHERE ${condition}
    UNION ALL SELECT LOWER(CONCAT('index ', index_name)), LOWER(column_name), NULL
    FROM information_schema.statistics WHERE seq_in_index = 1 AND ${condition} ${EVERY_ROW}`;
}

/**
 * Looks at what {@linkcode columnsOf} read.
 *
 * @returns Whether the table is there.
 * @throws {BackendError} When it is there with other columns, or without the index.
 */
export function hasTable(table: string, rows: readonly (readonly (string | null)[])[]): boolean {
  if (rows.length === 0) return false;
  const missing = COLUMNS.filter((column) => !rows.some(([name]) => name === column));
  const [, type, key] = rows.find(([name]) => name === "name") ?? [];
  const keyed = key === "pri" && type!.startsWith("varbinary(");
  const indexed = rows.some(([name, first]) => name === "index listed" && first === "listed");
  if (missing.length > 0 || !keyed || !indexed) {
    const lack = missing.length > 0
      ? `it has no column ${missing.join(", ")}`
      : keyed
      ? 'it has no index "listed" of listed, name'
      : "its primary key is not a name of bytes";
    throw new BackendError(
      `Cannot use table ${JSON.stringify(table)}: ${lack}; want a table that lockmgr made, or another name`,
    );
  }
  return true;
}
