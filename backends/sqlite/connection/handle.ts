/**
 * Inspects a database handle with its first statements: how it returns rows, and whether the caller has set it up in a
 * way that changes what the statements of this engine mean.
 *
 * @module
 */
import { UnsupportedError } from "../../../core/errors.ts";
import type { SqliteDatabase, SqliteStatement } from "./driver.ts";

/**
 * The oldest SQLite that works: `unixepoch('subsec')` came with it. Everything else is older: `json_each` (3.38, or
 * built in), STRICT tables (3.37), RETURNING and MATERIALIZED (3.35), UPDATE … FROM (3.33).
 */
const OLDEST = [3, 42, 0];

/** Functions that the statements use. A program may have replaced them on its handle. */
const FUNCTIONS = [
  ...["unixepoch", "round", "max", "coalesce", "substr", "length", "json_each", "json_array", "json_group_array"],
  ...["sqlite_version", "total_changes"],
];

/** What is known of a handle. */
export interface Handle {
  /** Prepares a statement whose rows are objects. */
  readonly prepare: (sql: string) => SqliteStatement;
  /** Whether text is compared in code-point order, as only UTF-8 is. */
  readonly utf8: boolean;
}

/** Inspects a handle; an `UnsupportedError` names the version, option or function that prevents its use. */
export function inspectHandle(database: SqliteDatabase): Handle {
  const { version, arrays } = readVersion(database);
  requireVersion(version);
  const prepare = (sql: string) => arrays ? withNames(database.prepare(sql)) : database.prepare(sql);
  requireFunctions(prepare);
  const { encoding } = prepare("PRAGMA encoding").get() as { encoding: string };
  return { prepare, utf8: encoding === "UTF-8" };
}

/** Runs the first statement, whose result shows how the driver returns rows. */
function readVersion(database: SqliteDatabase): { version: string; arrays: boolean } {
  const statement = database.prepare("SELECT sqlite_version() AS version");
  const row = typeof statement?.get === "function" ? statement.get() as unknown : statement;
  if (typeof (row as { then?: unknown } | null)?.then === "function") {
    throw unusable("it answers with promises", "one that answers at once, such as node:sqlite or better-sqlite3");
  }
  if (Array.isArray(row)) {
    if (typeof (statement as { columns?: unknown }).columns === "function") return { version: row[0], arrays: true };
    throw unusable("it returns rows as arrays (returnArrays, raw)", "rows as objects");
  }
  if (typeof row === "string") throw unusable("it returns single values instead of rows (pluck)", "rows as objects");
  const { version } = (row ?? {}) as { version?: unknown };
  if (typeof version === "string") return { version, arrays: false };
  throw unusable("its rows have no columns by name", "a driver or options that return rows as plain objects");
}

function unusable(reason: string, instead: string): UnsupportedError {
  return new UnsupportedError(`Cannot use this SQLite handle: ${reason}; use ${instead}`);
}

function requireVersion(version: string): void {
  const parts = version.split(".").map(Number);
  const difference = OLDEST.map((wanted, index) => (parts[index] ?? 0) - wanted).find((part) => part !== 0) ?? 0;
  if (difference >= 0) return;
  const wanted = `${OLDEST.join(".")} or newer, which reads the clock in milliseconds`;
  throw new UnsupportedError(
    `Cannot use SQLite ${version}: lockmgr needs ${wanted}; use a newer SQLite library or the runtime's own node:sqlite`,
  );
}

/** Refuses a library without JSON or the clock, and functions that the program has replaced. */
function requireFunctions(prepare: (sql: string) => SqliteStatement): void {
  try {
    prepare("SELECT unixepoch('subsec'), json_array(key) FROM json_each('[]')").get();
  } catch (error) {
    const { message } = error as Error;
    if (!/no such (function|table)/i.test(message)) throw error;
    throw new UnsupportedError(
      `Cannot use this SQLite library: ${message}; use one that is built without SQLITE_OMIT_JSON and ` +
        "SQLITE_OMIT_DATETIME_FUNCS",
      { cause: error },
    );
  }
  const names = FUNCTIONS.map((name) => `'${name}'`).join(", ");
  let replaced: { name: string }[];
  try {
    replaced = prepare(`SELECT name AS name FROM pragma_function_list WHERE builtin = 0 AND name IN (${names})`)
      .all() as { name: string }[];
  } catch {
    return; // a library without this pragma cannot say
  }
  if (replaced.length === 0) return;
  throw unusable(`its SQL function ${replaced[0].name}() was replaced by the program`, "a handle of its own or a path");
}

/** Gives names to the rows of a statement that returns arrays. */
function withNames(statement: SqliteStatement): SqliteStatement {
  let names: string[] | undefined;
  const named = (row: unknown) => {
    if (!Array.isArray(row)) return row;
    names ??= (statement as unknown as { columns(): { name: string }[] }).columns().map(({ name }) => name);
    return Object.fromEntries(names.map((name, index) => [name, row[index]]));
  };
  return {
    get: (...parameters) => named(statement.get(...parameters)),
    all: (...parameters) => statement.all(...parameters).map(named),
    run: (...parameters) => statement.run(...parameters),
  };
}

/**
 * Refuses settings of an external handle under which nothing can be written, or half a transaction may stay. They can
 * change at any time.
 */
export function requireWritableHandle(what: string, pragma: (name: string) => string, inFile: boolean): void {
  const journal = pragma("journal_mode");
  if (journal === "off" || (journal === "memory" && inFile)) {
    throw new UnsupportedError(
      `Cannot ${what}: with journal_mode = ${journal.toUpperCase()} on this handle a failure leaves half a ` +
        "transaction behind; use WAL or DELETE",
    );
  }
  if (pragma("query_only") === "1") {
    throw new UnsupportedError(
      `Cannot ${what}: query_only is set on this handle, which must write; use "PRAGMA query_only = OFF" or a path`,
    );
  }
}
