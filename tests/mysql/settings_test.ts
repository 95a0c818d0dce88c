/**
 * Pools of the caller's whose connections have settings of their own: right answers, or a refusal that names the setting.
 *
 * @module
 */
import type { GuardClient } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import type { Connection } from "mysql2";
import { createPool, type Pool, type PoolOptions } from "mysql2/promise";
import { inspect } from "node:util";
import { everyVerb } from "../conformance/settings.ts";
import { test } from "../harness.ts";
import { type Flavor, flavors, type Place, placeOn } from "./flavors.ts";

/** What a pool is given. */
interface Setting {
  /** The statement that every connection begins with. */
  readonly sql?: string;
  /** Options of the driver. */
  readonly options?: PoolOptions;
  /** The kind of server that has the setting; both unless said. */
  readonly only?: Flavor["name"];
  /** Whether it works there, or what the refusal says. */
  readonly refused?: RegExp;
}

const SQL_MODES = [
  "",
  "HIGH_NOT_PRECEDENCE",
  "ANSI",
  "ANSI_QUOTES",
  "PIPES_AS_CONCAT",
  "NO_BACKSLASH_ESCAPES",
  "IGNORE_SPACE",
  "REAL_AS_FLOAT",
  "NO_UNSIGNED_SUBTRACTION",
  "NO_ZERO_DATE,NO_ZERO_IN_DATE,STRICT_TRANS_TABLES",
  "PAD_CHAR_TO_FULL_LENGTH",
  "NO_AUTO_VALUE_ON_ZERO",
  "ONLY_FULL_GROUP_BY",
  "TRADITIONAL",
  "ALLOW_INVALID_DATES",
  "HIGH_NOT_PRECEDENCE,ANSI,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH,NO_UNSIGNED_SUBTRACTION",
];

const SETTINGS: readonly Setting[] = [
  ...SQL_MODES.map((mode) => ({ sql: `SET sql_mode = '${mode}'` })),
  { sql: "SET sql_mode = 'TIME_TRUNCATE_FRACTIONAL'", only: "mysql" },
  { sql: "SET sql_mode = 'EMPTY_STRING_IS_NULL,TIME_ROUND_FRACTIONAL'", only: "mariadb" },
  { sql: "SET sql_mode = 'MSSQL'", only: "mariadb" },
  { sql: "SET sql_mode = 'DB2'", only: "mariadb" },
  { sql: "SET sql_mode = 'ORACLE'", only: "mariadb", refused: /SIMULTANEOUS_ASSIGNMENT/ },
  { sql: "SET sql_mode = 'SIMULTANEOUS_ASSIGNMENT'", only: "mariadb", refused: /SIMULTANEOUS_ASSIGNMENT/ },
  { sql: "SET lc_messages = 'de_DE'" },
  { sql: "SET lc_messages = 'de_DE'", options: { flags: ["-FOUND_ROWS"] } },
  { sql: "SET lc_messages = 'ja_JP', character_set_results = 'sjis'", options: { flags: ["-FOUND_ROWS"] } },
  { sql: "SET time_zone = '-11:00'" },
  { sql: "SET sql_select_limit = 1" },
  { sql: "SET sql_select_limit = 0" },
  { options: { flags: ["-FOUND_ROWS", "IGNORE_SPACE"] } },
  { options: { multipleStatements: true, namedPlaceholders: true, rowsAsArray: true } },
  { options: { nestTables: true, dateStrings: true, decimalNumbers: true } as PoolOptions },
  { options: { nestTables: "_", jsonStrings: true } as PoolOptions },
  { options: { supportBigNumbers: true, bigNumberStrings: true } },
  { options: { supportBigNumbers: false, disableEval: true } },
  { options: { typeCast: (field) => field.type === "LONGLONG" ? `#${field.string()}` : field.buffer() } },
  { options: { typeCast: (field) => (field.string(), undefined), disableEval: true } },
  { options: { typeCast: false } },
  { options: { charset: "latin1_swedish_ci" } },
  { sql: "SET NAMES sjis" },
  { sql: "SET NAMES gbk" },
  { sql: "SET NAMES koi8r" },
  { sql: "SET NAMES swe7", refused: /swe7/ },
  { sql: "SET character_set_results = 'utf16'", refused: /character_set_results utf16/ },
  { sql: "SET character_set_connection = 'ucs2'", refused: /character_set_connection ucs2/ },
  { sql: "SET character_set_results = NULL" },
  { sql: "SET sql_safe_updates = 1" },
  { sql: "SET sql_auto_is_null = 1" },
  { sql: "SET sql_big_selects = 0, max_join_size = 1", refused: /max_join_size/i },
  { sql: "SET autocommit = 0", refused: /autocommit/ },
  { sql: "START TRANSACTION", refused: /transaction open/ },
  { sql: "SET SESSION TRANSACTION READ ONLY", refused: /(transaction|tx)_read_only/ },
  ...["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"].map((level) => ({
    sql: `SET SESSION TRANSACTION ISOLATION LEVEL ${level}`,
  })),
  { sql: "SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1" },
  { sql: "SET group_concat_max_len = 4, div_precision_increment = 0, max_sort_length = 8" },
  { sql: "SET max_error_count = 0, sql_notes = 0, sql_warnings = 1" },
  { sql: "SET foreign_key_checks = 0, unique_checks = 0, default_week_format = 3" },
  { sql: "SET optimizer_switch = 'derived_merge=off,index_merge=off,materialization=off,semijoin=off'" },
  { sql: "SET completion_type = 'CHAIN'" },
  { sql: "SET completion_type = 'RELEASE'" },
  { sql: "SET timestamp = 1", refused: /"timestamp"/ },
  { sql: "SET insert_id = 7, last_insert_id = 9" },
  { sql: "SET max_statement_time = 0.000001", only: "mariadb", refused: /max_statement_time/ },
  { sql: "SET default_storage_engine = 'MEMORY'" },
];

/** A pool whose connections all begin so, closed on disposal. */
function poolWith(url: string, { sql, options }: Setting): Pool & AsyncDisposable {
  const pool = createPool({ uri: url, connectionLimit: 3, ...options });
  if (sql) {
    (pool.pool as unknown as { on(event: string, listener: (connection: Connection) => void): void })
      .on("connection", (connection) => void connection.query(sql, () => {}));
  }
  return Object.assign(pool, { [Symbol.asyncDispose]: () => pool.end() });
}

/** Runs a body in a transaction of the pool's. */
async function inTransaction(pool: Pool, body: (client: GuardClient) => Promise<void>): Promise<void> {
  const connection = await pool.getConnection();
  try {
    await connection.beginTransaction();
    await body(connection);
    await connection.query("ROLLBACK AND NO CHAIN NO RELEASE");
  } finally {
    connection.destroy();
  }
}

async function tryWith(place: Place, setting: Setting): Promise<void> {
  const other = await place.backend();
  await using pool = poolWith(place.url, setting);
  const everything = async () => {
    await using backend = await mysqlBackend(pool);
    await everyVerb(backend, other, (body) => inTransaction(pool, body));
  };
  if (setting.refused) await assert.rejects(everything(), setting.refused);
  else await everything();
}

for (const flavor of flavors) {
  for (const setting of SETTINGS) {
    if (setting.only && setting.only !== flavor.name) continue;
    const name = [setting.sql, setting.options && inspect(setting.options)].filter(Boolean).join(", ");
    test(`${flavor.name}: a pool with ${name}`, async () => {
      await using place = await placeOn(flavor.shared, flavor);
      await tryWith(place, setting);
    });
  }
}
