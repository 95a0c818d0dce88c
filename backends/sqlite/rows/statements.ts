/**
 * The SQL of this engine. Times are whole microseconds; they and the tokens travel as text, because drivers differ in
 * how they read integers above 2^31 and 2^53.
 *
 * @module
 */
import { COLUMNS, quoted } from "../schema.ts";

/** The server's clock: SQLite's own, to the millisecond. It stands still within one statement. */
const NOW = "CAST(ROUND(unixepoch('subsec') * 1000) AS INTEGER) * 1000";

/** The same as a table, for statements that read it under a name. */
const CLOCK = `(SELECT ${NOW} AS now)`;

/** Rows that are held: not released, and not lapsed. */
const LIVE = "owner IS NOT NULL AND (locked_until IS NULL OR locked_until > now)";

/**
 * What is read of a row; `now` must be in scope. Every column has its name said: SQLite promises none without `AS`, and
 * `PRAGMA full_column_names` changes them.
 */
const ROW = `name AS name, owner AS owner, CAST(token AS TEXT) AS token, locked_by AS locked_by,
  CAST(lock_process AS TEXT) AS lock_process, CAST(locked_until AS TEXT) AS locked_until,
  CAST(created_at AS TEXT) AS created_at, CAST(updated_at AS TEXT) AS updated_at, metadata AS metadata,
  CAST(now AS TEXT) AS now`;

/** The same in RETURNING, where `updated_at` is the clock of that very statement. */
const RETURNED = ROW.replace("CAST(now AS TEXT)", "CAST(updated_at AS TEXT)");

/** Lists rows in SQL; `condition` chooses. */
function select(table: string, condition: string): string {
  return `SELECT ${ROW} FROM ${quoted(table)}, ${CLOCK} WHERE owner IS NOT NULL AND ${condition}`;
}

/**
 * A lease with at most so much time left (µs) may be released without waiting for the disk: when a power failure undoes
 * the release, the name stays locked for that long, and no longer. A release of any other lock is durable.
 */
export const SHORT_LEASE_US = 900e6;

/** What an acquisition writes over the row that is there: all but the name. */
const REPLACE = `ON CONFLICT (name) DO UPDATE SET ${
  COLUMNS.slice(1).map((column) => `${column} = excluded.${column}`).join(", ")
}`;

/** For so many rows at once there are statements, from the most: more gain nothing, and take longer to prepare. */
export const TOGETHER = [32, 8, 1];

/** The statements for one table. */
export interface Statements {
  /** The live row of a name. `(name)` */
  readonly peek: string;
  /** The token that a free name shall have next, and the clock; no row while the name is held. `(name)` */
  readonly next: string;
  /** The same of all names in one row: JSON of pairs, the place of a free name and its token, and the clock. `(JSON)` */
  readonly nextOfAll: string;
  /** The clock. `()` */
  readonly now: string;
  /**
   * Takes names, so many of them, as far as they are free and their last tokens lie before the one given; what is not
   * is left alone. `(token, locked_by, lock_process, locked_until, now, metadata, name, owner, name, owner, …)`
   */
  acquireFree(count: number): string;
  /**
   * Takes names that were seen to be free in this very transaction, so many of them.
   * `(name, owner, token, locked_by, lock_process, locked_until, now, now, metadata, …)`
   */
  acquire(count: number): string;
  /** Extends a live lock, never shortening it. `(name, owner or NULL, from, add or NULL)` */
  readonly renew: string;
  /** Frees a live lock, keeping its row. `(name, owner or NULL)` */
  readonly release: string;
  /** The same for a lease that has at most `SHORT_LEASE_US` left. `(name, owner or NULL)` */
  readonly releaseShort: string;
  /** The same of several such leases, by a clock that was read. `(now, now, now, latest expiry, name, …, owner, …)` */
  releaseAllShort(count: number): string;
  /** Keeps a live lock's row from changing until the caller's transaction ends. `(name, owner)` */
  readonly guard: string;
  /** Live rows by names. `(JSON array)` */
  readonly listNames: string;
  /** Rows by prefix, live ones or also the lapsed. `(include expired, prefix)` */
  readonly list: string;
  /** Frees lapsed locks, or all. `(all)` */
  readonly clean: string;
  /** Deletes rows that have been free for a day: far longer than a statement can wait, so that no token repeats. */
  readonly sweep: string;
}

/** Writes the statements for a table. */
export function statementsFor(table: string): Statements {
  const target = quoted(table);
  return {
    peek: select(table, `name = ? AND ${LIVE}`),
    next: `
      SELECT CAST(coalesce(max(token + 1, now), now) AS TEXT) AS token, CAST(now AS TEXT) AS now
      FROM ${CLOCK} LEFT JOIN ${target} ON name = ? WHERE NOT (${LIVE})`,
    // Without `'' ||` the result has the subtype of JSON, and @db/sqlite parses such a column by itself.
    nextOfAll: `
      WITH clock AS MATERIALIZED ${CLOCK}
      SELECT '' || json_group_array(json_array(wish.key, CAST(coalesce(max(token + 1, now), now) AS TEXT)))
          FILTER (WHERE NOT (${LIVE})) AS tokens, CAST(now AS TEXT) AS now
      FROM json_each(?) AS wish JOIN clock LEFT JOIN ${target} ON name = wish.value`,
    now: `SELECT CAST(now AS TEXT) AS now FROM ${CLOCK}`,
    acquireFree: forEachCount((count) => `
      INSERT INTO ${target} (${COLUMNS.join(", ")})
      SELECT column1, column2, token, locked_by, lock_process, locked_until, now, now, metadata
      FROM (SELECT ? AS token, ? AS locked_by, ? AS lock_process, ? AS locked_until, ? AS now, ? AS metadata)
        CROSS JOIN (VALUES ${places(count, "(?, ?)")})
      WHERE true ${REPLACE}
      WHERE (owner IS NULL OR locked_until <= excluded.created_at) AND token < excluded.token`),
    acquire: forEachCount((count) => `
      INSERT INTO ${target} (${COLUMNS.join(", ")})
      VALUES ${places(count, "(?, ?, ?, ?, ?, ?, ?, ?, ?)")} ${REPLACE}`),
    renew: `
      WITH wish (wanted, whose, start, more) AS (VALUES (?, ?, ?, CAST(? AS INTEGER)))
      UPDATE ${target} SET
        locked_until = max(locked_until, more + CASE start
          WHEN 'now' THEN now WHEN 'expiry' THEN locked_until ELSE CAST(start AS INTEGER) END),
        updated_at = now
      FROM wish, ${CLOCK}
      WHERE name = wanted AND owner = coalesce(whose, owner) AND (locked_until IS NULL OR locked_until > now)
      RETURNING ${RETURNED}`,
    release: `
      UPDATE ${target} SET owner = NULL, locked_until = ${NOW}, updated_at = ${NOW}
      WHERE name = ? AND owner = coalesce(?, owner) AND (locked_until IS NULL OR locked_until > ${NOW})`,
    releaseShort: `
      UPDATE ${target} SET owner = NULL, locked_until = ${NOW}, updated_at = ${NOW}
      WHERE name = ? AND owner = coalesce(?, owner)
        AND locked_until - ${NOW} BETWEEN 1 AND ${SHORT_LEASE_US}`,
    releaseAllShort: forEachCount((count) => `
      UPDATE ${target} SET owner = NULL, locked_until = ?, updated_at = ?
      WHERE locked_until > ? AND locked_until <= ? AND name IN (${places(count)}) AND owner IN (${places(count)})`),
    guard: `
      UPDATE ${target} SET owner = owner WHERE name = ? AND owner = ?
        AND (locked_until IS NULL OR locked_until > (SELECT now FROM ${CLOCK}))
      RETURNING name`,
    listNames: `${select(table, `name IN (SELECT value FROM json_each(?)) AND ${LIVE}`)} ORDER BY name`,
    list: `
      WITH wish (expired, prefix) AS (VALUES (?, ?))
      SELECT ${ROW} FROM ${target}, wish, ${CLOCK}
      WHERE owner IS NOT NULL AND name >= prefix AND substr(name, 1, length(prefix)) = prefix
        AND (expired = 1 OR locked_until IS NULL OR locked_until > now)
      ORDER BY name`,
    clean: `
      UPDATE ${target} SET owner = NULL, updated_at = (SELECT now FROM ${CLOCK})
      WHERE owner IS NOT NULL AND (? = 1 OR locked_until <= (SELECT now FROM ${CLOCK}))`,
    sweep: `
      DELETE FROM ${target}
      WHERE owner IS NULL AND updated_at < (SELECT now FROM ${CLOCK}) - 86400 * 1000000`,
  };
}

/** So many parameters, or rows of them. */
function places(count: number, place = "?"): string {
  return Array(count).fill(place).join(", ");
}

/** Writes each statement once. */
function forEachCount(write: (count: number) => string): (count: number) => string {
  const written = new Map(TOGETHER.map((count) => [count, write(count)]));
  return (count) => written.get(count)!;
}
