/**
 * The SQL of this engine. Times are whole microseconds; they and the tokens travel as text, because drivers differ in
 * how they read integers above 2^31 and 2^53.
 *
 * @module
 */
import { COLUMNS, QUEUE_COLUMNS, quoted } from "../schema.ts";

/** SQLite's clock, to the millisecond. It stands still within one statement. */
const NOW = "CAST(ROUND(unixepoch('subsec') * 1000) AS INTEGER) * 1000";

/** The clock as a table, for statements that read it as `now`. */
const CLOCK = `(SELECT ${NOW} AS now)`;

/** Rows of held locks: not released, and not expired. */
const LIVE = "owner IS NOT NULL AND (locked_until IS NULL OR locked_until > now)";

/** Whose lock a request is about: an owner, `#` and a token, or NULL for any holder. `(text)` */
function isOf(whose: string): string {
  return `owner IS NOT NULL AND coalesce(${whose}, owner) IN (owner, '#' || coalesce(first_token, token))`;
}

/**
 * The columns of a row; `now` must be in scope. Each is named: SQLite promises no name without `AS`, and
 * `PRAGMA full_column_names` changes it.
 */
const ROW = `name AS name, owner AS owner, CAST(coalesce(first_token, token) AS TEXT) AS token,
  CAST(token AS TEXT) AS highest, CAST(slots AS TEXT) AS slots, '' || line AS line, locked_by AS locked_by,
  CAST(lock_process AS TEXT) AS lock_process, CAST(locked_until AS TEXT) AS locked_until,
  CAST(created_at AS TEXT) AS created_at, CAST(updated_at AS TEXT) AS updated_at, metadata AS metadata,
  CAST(now AS TEXT) AS now`;

/**
 * A lease with at most so much time left (µs) may be released without waiting for the disk. A release of any other lock
 * is durable.
 */
export const SHORT_LEASE_US = 900e6;

/** Rows for which one statement is prepared, from the most: more gain nothing, and take longer to prepare. */
const CHUNK_SIZES = [32, 8, 1];

/** The statements for one table, with their parameters. */
export type Statements = ReturnType<typeof statementsFor>;

/** The assignments of an upsert. */
function replaced(columns: readonly string[]): string {
  return columns.slice(1).map((column) => `${column} = excluded.${column}`).join(", ");
}

/** Statements that acquire. */
function acquiring(table: string) {
  const columns = Object.keys(COLUMNS);
  return {
    /** The next token of a free name, and the clock; no row while the name is held or waited for. `(name)` */
    selectNext: `
      SELECT CAST(coalesce(max(token + 1, now), now) AS TEXT) AS token, CAST(now AS TEXT) AS now
      FROM ${CLOCK} LEFT JOIN ${table} ON name = ? WHERE NOT (${LIVE}) AND line IS NULL`,
    /**
     * The same of many names in one row: JSON of an index and a token of each name whose token is not the clock, the token
     * `null` while it is held or waited for, and the clock. `(JSON)`
     * Without `'' ||` the result has the subtype of JSON, and @db/sqlite parses such a column.
     */
    selectMany: `
      WITH clock AS MATERIALIZED ${CLOCK}
      SELECT '' || json_group_array(json_array(param.key, iif(NOT (${LIVE}) AND line IS NULL, CAST(token + 1 AS TEXT), NULL)))
          FILTER (WHERE (${LIVE}) OR line IS NOT NULL OR token >= now) AS others, CAST(now AS TEXT) AS now
      FROM json_each(?) AS param JOIN clock LEFT JOIN ${table} ON name = param.value`,
    /**
     * Takes names that were free in this transaction.
     * `(name, owner, token, locked_by, lock_process, locked_until, now, now, metadata, …)`
     */
    insert: forEachSize((count) => `
      INSERT INTO ${table} (${columns.join(", ")})
      VALUES ${repeat(count, "(?, ?, ?, ?, ?, ?, ?, ?, ?)")} ON CONFLICT (name) DO UPDATE SET ${replaced(columns)}`),
  };
}

/** Statements about lines. */
function queueing(table: string) {
  const columns = Object.keys({ ...COLUMNS, ...QUEUE_COLUMNS });
  return {
    /** The row of a name, of NULLs if there is none, and the clock. `(name)` */
    selectLine: `SELECT ${ROW} FROM ${CLOCK} LEFT JOIN ${table} ON name = ?`,
    /**
     * The time (µs) until the first holder's lease expires, and how many entries are before a waiter in the line, `NULL`
     * if it waits no more. `(owner, name)`
     */
    selectTurn: `
      SELECT CAST(locked_until - now AS TEXT) AS "left", CAST((
          SELECT key FROM json_each(line) WHERE value ->> 'owner' = ? AND value ->> 'token' IS NULL
        ) AS TEXT) AS ahead
      FROM ${table}, ${CLOCK} WHERE name = ? AND ${LIVE}`,
    /** The names that have a line. */
    selectQueues: `SELECT name AS name FROM ${table} WHERE owner IS NOT NULL AND line IS NOT NULL`,
    /** Stores a line. `(values of stored_line.ts)` */
    storeLine: `
      INSERT INTO ${table} (${columns.join(", ")}) VALUES (${repeat(columns.length)})
      ON CONFLICT (name) DO UPDATE SET ${replaced(columns)}`,
    /** Stores an empty line. `(token, now, now, name)` */
    free: `
      UPDATE ${table} SET owner = NULL, token = ?, locked_until = ?, updated_at = ?,
        slots = NULL, first_token = NULL, line_owner = NULL, line = NULL
      WHERE name = ?`,
  };
}

/** Statements that release. */
function releasing(table: string) {
  return {
    /** Releases a live lock without a line that has at most so much time left (µs), keeping its row. `(name, whose, most)` */
    release: `
      UPDATE ${table} SET owner = NULL, locked_until = ${NOW}, updated_at = ${NOW}
      WHERE name = ? AND line IS NULL AND ${isOf("?")} AND coalesce(locked_until - ${NOW}, 9e999) BETWEEN 1 AND ?`,
    /** The same of many leases of `SHORT_LEASE_US` at most. `(name, …, owner + NUL + name, …)` */
    releaseMany: forEachSize((count) => `
      UPDATE ${table} SET owner = NULL, locked_until = ${NOW}, updated_at = ${NOW}
      WHERE line IS NULL AND locked_until - ${NOW} BETWEEN 1 AND ${SHORT_LEASE_US}
        AND name IN (${repeat(count)}) AND owner || char(0) || name IN (${repeat(count)})`),
  };
}

/** Writes the statements for a table. */
export function statementsFor(name: string) {
  const table = quoted(name);
  return {
    ...acquiring(table),
    ...queueing(table),
    ...releasing(table),
    /** Extends the live lock of an only holder, never shortening it. `(name, whose, from, add or NULL)` */
    renew: `
      WITH params (wanted, whose, start, more) AS (VALUES (?, ?, ?, CAST(? AS INTEGER)))
      UPDATE ${table} SET
        locked_until = max(locked_until, more + CASE start
          WHEN 'now' THEN now WHEN 'expiry' THEN locked_until ELSE CAST(start AS INTEGER) END),
        updated_at = now
      FROM params, ${CLOCK}
      WHERE name = wanted AND line IS NULL AND ${isOf("whose")} AND locked_by <> ''
        AND (locked_until IS NULL OR locked_until > now)
      RETURNING ${ROW.replace("CAST(now AS TEXT)", "CAST(updated_at AS TEXT)")}`, // `now` is out of scope there
    /** Keeps a live lock's row from changing until the caller's transaction ends. `(name, owner, owner)` */
    guard: `
      UPDATE ${table} SET owner = owner WHERE name = ? AND (
        owner = ? AND (locked_until IS NULL OR locked_until > ${NOW})
        OR EXISTS (SELECT 1 FROM json_each(line) WHERE value ->> 'owner' = ? AND value ->> 'token' IS NOT NULL
          AND (value ->> 'until' IS NULL OR value ->> 'until' > ${NOW})))
      RETURNING name`,
    /** Rows by names, without such whose only holder has expired, unless asked for. `(include expired, JSON array)` */
    listNames: listing(table, "name IN (SELECT value FROM json_each(wanted))"),
    /** The same by prefix. `(include expired, prefix)` */
    list: listing(table, "name >= wanted AND substr(name, 1, length(wanted)) = wanted"),
    /** Releases expired locks without a line, or all of these. `(all)` */
    clean: `
      UPDATE ${table} SET owner = NULL, updated_at = ${NOW}
      WHERE owner IS NOT NULL AND line IS NULL AND (? = 1 OR locked_until <= ${NOW})`,
    /** Deletes rows free for a day, longer than a statement waits; a token ahead of the clock must not repeat. */
    sweep: `DELETE FROM ${table} WHERE owner IS NULL AND max(token, updated_at + 86400 * 1000000) < ${NOW}`,
  };
}

/** Selects rows that meet a condition on the parameter `wanted`. */
function listing(table: string, condition: string): string {
  return `
      WITH params (expired, wanted) AS (VALUES (?, ?))
      SELECT ${ROW} FROM ${table}, params, ${CLOCK}
      WHERE owner IS NOT NULL AND ${condition}
        AND (expired = 1 OR line IS NOT NULL OR locked_until IS NULL OR locked_until > now)
      ORDER BY name`;
}

/** Repeats a parameter, or a row of them. */
function repeat(count: number, text = "?"): string {
  return Array(count).fill(text).join(", ");
}

/** Writes a statement once for each chunk size. */
function forEachSize(write: (count: number) => string): (count: number) => string {
  const written = new Map(CHUNK_SIZES.map((count) => [count, write(count)]));
  return (count) => written.get(count)!;
}

/** Cuts a list into chunks for which there are statements. */
export function* inChunks<T>(list: readonly T[]): Generator<readonly T[]> {
  for (let start = 0; start < list.length;) {
    const size = CHUNK_SIZES.find((size) => size <= list.length - start)!;
    yield list.slice(start, start + size);
    start += size;
  }
}
