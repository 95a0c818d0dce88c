/**
 * The tables, and the check of existing ones.
 *
 * @module
 */
import { type Found, judgeTable } from "../shared/found_table.ts";
import { bytes, EVERY_ROW, quoted } from "./connection/inline_parameters.ts";

/** The columns that every version has, with their types. */
const COLUMNS: Readonly<Record<string, string>> = {
  name: "VARBINARY(1020) NOT NULL PRIMARY KEY",
  owner: "VARBINARY(64) NOT NULL",
  token: "BIGINT NOT NULL",
  locked_by: "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
  lock_process: "BIGINT",
  locked_until: "BIGINT",
  created_at: "BIGINT NOT NULL",
  updated_at: "BIGINT NOT NULL",
  metadata: "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
  session: "VARBINARY(64)",
  connection_id: "BIGINT",
  listed: "TINYINT NOT NULL DEFAULT 1",
};

/** The columns of queues, with their types, which tables of earlier versions lack. */
const QUEUE_COLUMNS: Readonly<Record<string, string>> = {
  slots: "INT",
  first_token: "BIGINT",
  line_owner: "VARBINARY(64)",
  line: "LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
};

/** The longest name of a table, in characters. */
const LONGEST_NAME = 64;

/** A hash of a name (FNV-1a, 64 bits). */
function hashOf(name: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16);
}

/**
 * Refuses earlier versions of this library, which know nothing of a line, when they would give its name away. MySQL names
 * a check after its table, and finds the names of two tables equal that differ in case alone: such have a name of ours.
 */
function queueCheck(table: string): string {
  const [name] = table.split(".").reverse();
  const isNamedByServer = name === name.toLowerCase() && name.length <= LONGEST_NAME - "_chk_1".length;
  const constraint = isNamedByServer ? "" : `CONSTRAINT lockmgr_line_${hashOf(name)} `;
  return `${constraint}CHECK (line IS NULL OR line_owner = owner)`;
}

/**
 * The DDL: one row for each name, kept on release so that tokens increase. Names are bytes of UTF-8, because collations
 * fold case and ignore trailing spaces. `owner` is the secret of the last acquisition; `locked_until` is NULL for a lock
 * that never expires and 0 for a released one; times are microseconds since 1970. `session` is the key of the holder's
 * liveness lock (`hybrid`).
 *
 * `line` has the further holders and the waiters as JSON, and is NULL for an exclusive lock without waiters. Then so are
 * `slots`, the first holder's limit, and `first_token`, its token, of which `token` is the highest.
 *
 * The index finds held rows among a million. It is on `listed` (0 is free, 1 held, 2 a name that is acquired often, held
 * or free), because an index on a column that every acquisition changes costs batches half as much again.
 */
export function lockSchema(table: string): string {
  const columns = Object.entries({ ...COLUMNS, ...QUEUE_COLUMNS });
  return `
CREATE TABLE IF NOT EXISTS ${quoted(table)} (
${columns.map(([column, type]) => `  ${column.padEnd(13)} ${type},`).join("\n")}
  ${queueCheck(table)},
  INDEX listed (listed, name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
`.trim();
}

/** The DDL for a table of an earlier version; locks that are held stay held. */
export function upgrade(table: string): string {
  const columns = Object.entries(QUEUE_COLUMNS).map(([column, type]) => `ADD COLUMN ${column} ${type}`);
  return `ALTER TABLE ${quoted(table)} ${[...columns, `ADD ${queueCheck(table)}`].join(", ")};`;
}

/** The name of the table for the tokens of session locks, in the lock table's database. */
export function tokenTable(table: string): string {
  const [name, ...database] = table.split(".").reverse();
  return [...database, `${name.slice(0, LONGEST_NAME - "_tokens".length)}_tokens`].join(".");
}

/**
 * The DDL for the one row from which session locks derive their tokens: `base` and `first` begin an epoch, `reserved` is
 * above all of its tokens, `sessions` are the GET_LOCKs of its connections.
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

/** The whole DDL for a lock table. */
export function schema(table: string): string {
  const old = upgrade(table).replace(/^/gm, "-- ");
  return `${lockSchema(table)}\n${tokenSchema(table)}\n\n-- A table of an earlier version:\n${old}`;
}

/** The SQL condition that a column has this name, ignoring case where the server does. */
function isNamed(column: string, name: string): string {
  const same = `${column} = CONVERT(${bytes(name)} USING utf8mb4)`;
  return `${same} AND (@@lower_case_table_names <> 0 OR CAST(${column} AS BINARY) = ${bytes(name)})`;
}

/** Selects the columns of a table, and its indexes with their first columns. */
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
 * Returns what {@linkcode columnsOf} found.
 *
 * @throws {BackendError} When it has other columns, or not the index.
 */
export function findTable(table: string, rows: readonly (readonly (string | null)[])[]): Found {
  // Of a table that another client is creating, the index may be seen before the columns.
  if (rows.every(([name]) => name!.startsWith("index "))) return "none";
  const present = rows.map(([name]) => name!);
  const [, type, key] = rows.find(([name]) => name === "name") ?? [];
  const keyed = key === "pri" && type!.startsWith("varbinary(");
  const indexed = rows.some(([name, first]) => name === "index listed" && first === "listed");
  const defect = !keyed
    ? "its primary key is not a name of bytes"
    : indexed
    ? undefined
    : 'it has no index "listed" of listed, name';
  return judgeTable(table, present, Object.keys(COLUMNS), Object.keys(QUEUE_COLUMNS), defect);
}
