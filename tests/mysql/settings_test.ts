/**
 * Pools of the caller's whose connections have settings of their own: right answers, or a refusal that names the setting.
 *
 * @module
 */
import { getLock, type GuardClient, listLocks, type Mode, tryLock, UnsupportedError } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import type { Connection } from "mysql2";
import { createPool, type Pool, type PoolOptions } from "mysql2/promise";
import { inspect } from "node:util";
import { everyVerb } from "../conformance/settings.ts";
import { test } from "../harness.ts";
import { type Flavor, flavors, onEach, type Place, placeOn } from "./flavors.ts";

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

/** A name and a text with bytes that end a text, or escape its end, in some character set. */
const HARD = `it's "\\ ü \u30bd`;

/** Acquires, is refused, renews and releases on connections that begin so; returns whether that was refused. */
async function isRefused(place: Place, setting: Setting, mode: Mode = "lease"): Promise<boolean> {
  await using pool = poolWith(place.url, { ...setting, options: { connectionLimit: 1, ...setting.options } });
  try {
    await using backend = await mysqlBackend(pool, { mode });
    const expires = mode === "session" ? undefined : 60;
    const lock = await getLock(HARD, { backend, expires, metadata: mode === "session" ? undefined : { HARD } });
    assert.equal(await tryLock(HARD, { backend }), undefined);
    if (mode !== "session") {
      await lock.renew({ expires: 120 });
      const [{ name, metadata, expiresIn }] = await listLocks({ backend });
      assert.deepEqual([name, metadata], [HARD, { HARD }]);
      assert(expiresIn! > 100, `${expiresIn} s are left of 120`);
    }
    assert.equal(await lock.unlock(), true);
  } catch (error) {
    if (error instanceof UnsupportedError || /Encoding not recognized|SQL syntax/.test(String(error))) return true;
    throw new Error(`With ${inspect(setting)}, ${mode}`, { cause: error });
  }
  return false;
}

/** The statements, of those given, that the server takes. */
async function taken({ ask }: Place, statements: string[]): Promise<string[]> {
  const outcomes = await Promise.allSettled(statements.map((sql) => ask(sql)));
  return statements.filter((_, index) => outcomes[index].status === "fulfilled");
}

/** Options of the driver that change what it sends or how it reads an answer, and flags of its greeting. */
const OPTIONS: readonly PoolOptions[] = [
  { multipleStatements: true },
  { rowsAsArray: true },
  { dateStrings: true },
  { supportBigNumbers: true },
  { supportBigNumbers: true, bigNumberStrings: true },
  { decimalNumbers: true },
  { jsonStrings: true },
  { namedPlaceholders: true },
  { stringifyObjects: true },
  { typeCast: false },
  { typeCast: () => null },
  { compress: true } as PoolOptions,
  { timezone: "-11:00" },
  { charset: "gbk_chinese_ci" },
  { charset: "sjis_japanese_ci" },
  { charset: "big5_chinese_ci" },
  ...["LONG_FLAG", "TRANSACTIONS", "MULTI_RESULTS", "PS_MULTI_RESULTS", "FOUND_ROWS", "DEPRECATE_EOF"].map((flag) => ({
    flags: [`-${flag}`],
  })),
  ...["INTERACTIVE", "MULTI_STATEMENTS", "SESSION_TRACK"].map((flag) => ({ flags: [flag] })),
];

/** Refused: character sets without ASCII, or unknown to the driver; armscii8 by the server, as wrong syntax. */
const REFUSED = /(dec8|hp8|swe7|armscii8|keybcs2|geostd8|eucjpms|ucs2|utf16|utf16le|utf32)$/;
/** Refused by name: MariaDB's ORACLE and SIMULTANEOUS_ASSIGNMENT, as bits of sql_mode. */
const SIMULTANEOUS = / = (512|8589934592)$/;

onEach("pools with each flag of sql_mode, each character set and each option of the driver", async (place) => {
  const flags = await taken(place, Array.from({ length: 64 }, (_, bit) => `SET sql_mode = ${2n ** BigInt(bit)}`));
  const charsets = await place.ask("SELECT character_set_name AS name FROM information_schema.character_sets");
  const names = await taken(place, charsets.map(({ name }) => `SET NAMES ${name}`));
  const results = ["ucs2", "utf16", "utf16le", "utf32", "binary"].map((name) => `SET character_set_results = ${name}`);
  assert(flags.length >= 20 && names.length >= 35, `${[...flags, ...names]}`);
  for (const sql of [...flags, ...names, ...results]) {
    const refused = REFUSED.test(sql) || place.flavor.name === "mariadb" && SIMULTANEOUS.test(sql);
    assert.equal(await isRefused(place, { sql }), refused, sql);
  }
  for (const options of OPTIONS) assert.equal(await isRefused(place, { options }), false, inspect(options));
});

onEach("hybrid and session locks of pools with dangerous settings", async (place) => {
  const options: PoolOptions = {
    multipleStatements: true,
    rowsAsArray: true,
    typeCast: () => 0,
    flags: ["-FOUND_ROWS"],
  };
  const dangerous: Setting[] = [
    { sql: `SET sql_mode = '${SQL_MODES.at(-1)}'`, options },
    { sql: "SET sql_select_limit = 1, completion_type = 'CHAIN'", options: { charset: "sjis_japanese_ci" } },
    { sql: "SET NAMES gbk", options: { nestTables: "_" } as PoolOptions },
  ];
  for (const setting of dangerous) {
    for (const mode of ["hybrid", "session"] as const) assert.equal(await isRefused(place, setting, mode), false);
  }
});
