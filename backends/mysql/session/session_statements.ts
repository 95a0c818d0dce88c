/**
 * The keys and the SQL of session locks. The answers for all keys are one text with a letter for each: a column for each
 * would cost more than the lock itself, and the driver compiles a reader for every new set of column names.
 *
 * @module
 */
import { sha256 } from "../../../core/util/runtime.ts";
import type { Server } from "../connection/server.ts";

/** How many hexadecimal digits of the digest fit beside the prefix in the 64 characters that MySQL allows. */
const DIGITS = 56;

/** The database and the table that a name of a table leads to, which is one however it is written. */
function tableOf({ database, variables }: Pick<Server, "database" | "variables">, table: string): string[] {
  const [name, within = database] = table.split(".").reverse();
  const folds = variables.get("lower_case_table_names") !== "0";
  return folds ? [within.toLowerCase(), name.toLowerCase()] : [within, name];
}

/**
 * The server's key of a session lock: a digest, because GET_LOCK takes 64 characters at most, folds case on MySQL and not
 * on MariaDB, and knows no databases. 224 bits: two names never share one.
 */
export function sessionKey(server: Pick<Server, "database" | "variables">, table: string, name: string): string {
  return `lockmgr:${sha256([...tableOf(server, table), name].join("\0")).slice(0, DIGITS)}`;
}

/** The clock when it is read, not at the statement's start: the locks are held by then. */
export const CLOCK_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))";

/** The letter of a key that the server granted or freed. */
export const DONE = "1";
/** The letter of a key that it did not grant or free. */
export const NOT_DONE = "0";
/** The letter where the server answers NULL. */
const UNKNOWN = "?";

/** Evaluates an expression for each key, in this order; its result is the key's letter. `KEY` stands for the key. */
function letters(keys: readonly string[], expression: string): string {
  return `CONCAT(${keys.map((key) => `IFNULL(${expression.replace("KEY", `'${key}'`)}, '${UNKNOWN}')`).join(", ")})`;
}

/** Acquires each key that is free, then reads the clock and draws a number above all before: columns are computed in order. */
export function acquireEach(keys: readonly string[]): string {
  return `SELECT ${letters(keys, "GET_LOCK(KEY, 0)")} AS got, ${CLOCK_NOW} AS clock, UUID_SHORT() AS drawn`;
}

/** Releases each key that the connection holds. */
export function releaseEach(keys: readonly string[]): string {
  return `SELECT ${letters(keys, "RELEASE_LOCK(KEY)")} AS freed`;
}

/** Tells which keys are free: {@linkcode DONE} for each of them. */
export function areFree(keys: readonly string[]): string {
  return `SELECT ${letters(keys, "ISNULL(IS_USED_LOCK(KEY))")} AS free`;
}
