/**
 * What session locks are asked with. The answers for all names come as one text, a letter for each: a column for each
 * would cost both sides more than the lock itself, and the driver compiles a reader for every new set of column names.
 *
 * @module
 */

/** The clock of the moment, not of the statement's start: it is read when the locks are held already. */
export const CLOCK_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))";

/** The letter of one that the server granted or freed. */
export const DONE = "1";
/** The letter of one that the server did not grant or free. */
export const NOT_DONE = "0";
/** The letter where the server answers NULL. */
const UNKNOWN = "?";

/** A letter for each digest: what `functionOf` says of it. The functions run in this order, each once. */
function letters(digests: readonly string[], functionOf: (literal: string) => string): string {
  return `CONCAT(${digests.map((digest) => `IFNULL(${functionOf(`'${digest}'`)}, '${UNKNOWN}')`).join(", ")})`;
}

/**
 * Takes each that is free, then reads the clock and draws a number that is higher than all before. The columns are
 * computed in their order.
 */
export function acquireEach(digests: readonly string[]): string {
  return `SELECT ${
    letters(digests, (literal) => `GET_LOCK(${literal}, 0)`)
  } AS got, ${CLOCK_NOW} AS clock, UUID_SHORT() AS drawn`;
}

/** Frees each that the connection has. */
export function releaseEach(digests: readonly string[]): string {
  return `SELECT ${letters(digests, (literal) => `RELEASE_LOCK(${literal})`)} AS freed`;
}

/** Which of the names anybody has: {@linkcode DONE} for each that is free. */
export function areFree(digests: readonly string[]): string {
  return `SELECT ${letters(digests, (literal) => `ISNULL(IS_USED_LOCK(${literal}))`)} AS free`;
}
