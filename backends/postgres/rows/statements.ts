/**
 * The SQL of leases and hybrid locks.
 *
 * @module
 */
import { ACQUIRE_FIELDS, acquireFree, acquireOne, acquireSeveral, retake } from "./acquire_statements.ts";
import {
  columns,
  DURABLE,
  IN_ORDER,
  inOrder,
  live,
  microseconds,
  oneWish,
  PATIENCE,
  patience,
  READ_ONLY,
  RETRIED_PATIENCE,
  settings,
  unnested,
  wishes,
} from "./fragments.ts";
import { notifyIfAwaited, notifyOfRows } from "../keys.ts";
import { namespaceOf, quoted } from "../schema.ts";

export { ACQUIRE_FIELDS };
/** What a renewal asks for. */
export const RENEW_FIELDS = ["name", "owner", "start", "more"] as const;
/** What a release asks for. */
export const RELEASE_FIELDS = ["name", "owner"] as const;

/** Extends live locks, never shortening them. */
function renew(target: string, several: boolean, skipLocked = false): string {
  const start = `CASE wish.start WHEN 'now' THEN now WHEN 'expiry' THEN l.locked_until
            ELSE timestamptz 'epoch' + wish.start::bigint * interval '1 microsecond' END`;
  return `
    WITH ${settings(patience(RETRIED_PATIENCE), DURABLE)},
    ${several ? `${wishes(RENEW_FIELDS)}, ${inOrder(target, skipLocked)}` : oneWish(RENEW_FIELDS)}
    UPDATE ${target} AS l SET (locked_until, updated_at) = (
      SELECT CASE WHEN l.locked_until IS NULL OR wish.more IS NULL THEN NULL
          ELSE greatest(l.locked_until, ${start} + wish.more::bigint * interval '1 microsecond') END, now
      FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock)
    FROM ${several ? "wish_in_order AS wish" : "wish"}
    WHERE l.name = wish.name AND l.owner = coalesce(wish.owner, l.owner) AND ${live("l")}
    RETURNING ${columns("l", "l.updated_at")}`;
}

/** Frees a live lock, keeping its row, and tells those who wait. */
function releaseOne(target: string, namespace: string): string {
  return `
    WITH ${settings(patience(RETRIED_PATIENCE))}
    UPDATE ${target} AS l SET ${free()} FROM settings
    WHERE l.name = $1::text AND l.owner = coalesce($2::text, l.owner) AND ${live("l")}
    RETURNING l.name, ${commitOf(expiresSoon("l"))} AS commit, ${notifyIfAwaited(namespace, "l.name")} AS told`;
}

/** Frees a lock unless another transaction has locked its row; `held` says whether the lock is there still. */
function releaseUnlocked(target: string, namespace: string): string {
  const wanted = `l.name = $1::text AND l.owner = coalesce($2::text, l.owner)`;
  return `
    WITH ${settings(patience(RETRIED_PATIENCE))},
    unlocked AS MATERIALIZED (SELECT l.name FROM settings, ${target} AS l WHERE ${wanted} FOR UPDATE OF l SKIP LOCKED),
    freed AS (
      UPDATE ${target} AS l SET ${free()} FROM unlocked
      WHERE l.name = unlocked.name AND ${wanted} AND ${live("l")}
      RETURNING l.name, ${commitOf(expiresSoon("l"))} AS commit, ${notifyIfAwaited(namespace, "l.name")} AS told)
    SELECT (EXISTS (SELECT FROM freed))::text AS freed,
      (EXISTS (SELECT FROM ${target} AS l WHERE ${wanted} AND ${live("l")}))::text AS held`;
}

/**
 * Frees several; the answer is one text with a digit at the place of each wish, or none when all were held. It is an
 * upsert because that finds each row by the primary key, whatever the planner thinks of the table, and in one order for
 * everybody: a join was planned while the table was small, and read all of it for each name later. A name without a row
 * gets one that is free, and differs from what was freed by its session.
 */
function releaseSeveral(target: string, namespace: string): string {
  return `
    WITH ${settings(patience(RETRIED_PATIENCE))}, ${wishes(RELEASE_FIELDS)},
    freed AS (
      INSERT INTO ${target} AS l (name, token, locked_by, locked_until, created_at, updated_at, session_pid,
        listed, frequent)
      SELECT wish.name, ${microseconds("now")}, coalesce(wish.owner, ''), now, now, now, 0, false, false
      FROM wish, clock_timestamp() AS now ${IN_ORDER}
      ON CONFLICT (name) DO UPDATE SET ${free("excluded.updated_at")}
      WHERE l.owner = coalesce(nullif(excluded.locked_by, ''), l.owner) AND ${live("l")}
      RETURNING l.name, l.session_pid IS NULL AS held, ${expiresSoon("l")} AS soon),
    released AS (SELECT freed.name FROM freed WHERE freed.held)
    SELECT CASE WHEN count(*) FILTER (WHERE held) < (SELECT count(*) FROM wish) THEN (
        SELECT string_agg(CASE WHEN freed.held THEN '1' ELSE '0' END, '' ORDER BY wish.place)
        FROM wish LEFT JOIN freed ON freed.name = wish.name) END AS freed,
      ${commitOf("bool_and(freed.soon)")} AS commit, ${notifyOfRows(namespace, "released")} AS told
    FROM freed`;
}

/** A crash may undo the release of a lock that expires within this time: it is free then without anybody's doing. */
const SOON = "15 minutes";

/** Whether a row that was just released would have expired soon: a release keeps the expiry. */
function expiresSoon(row: string): string {
  return `coalesce(${row}.locked_until <= ${row}.updated_at + interval '${SOON}', false)`;
}

/** Lets this transaction's commit be answered before it reaches the disk when `lazy`, and only then. */
function commitOf(lazy: string): string {
  return `CASE WHEN ${lazy} THEN set_config('synchronous_commit', 'off', true) ELSE ${DURABLE} END`;
}

/** A row that is free from now on. */
function free(now = "clock_timestamp()"): string {
  return `owner = NULL, updated_at = ${now}, metadata = NULL, liveness = NULL, session_pid = NULL,
        listed = l.frequent`;
}

/** Frees lapsed locks, or all, and deletes rows that have been free for a day: no statement waits that long. */
function clean(target: string, all: boolean, namespace: string): string {
  const condition = all ? "" : `AND NOT ${live("l")}`;
  return `
    WITH ${settings(patience(PATIENCE), DURABLE)}, chosen AS MATERIALIZED (
      SELECT l.name FROM settings, ${target} AS l WHERE l.listed AND l.owner IS NOT NULL ${condition}
      ORDER BY l.name FOR UPDATE OF l ${all ? "" : "SKIP LOCKED"}),
    cleaned AS (
      UPDATE ${target} AS l SET ${free()} FROM chosen
      WHERE l.name = chosen.name AND l.owner IS NOT NULL ${condition} RETURNING l.name),
    stale AS MATERIALIZED (
      SELECT l.name FROM ${target} AS l
      WHERE l.owner IS NULL AND l.updated_at < clock_timestamp() - interval '1 day'
      FOR UPDATE OF l SKIP LOCKED),
    swept AS (DELETE FROM ${target} AS l USING stale WHERE l.name = stale.name)
    SELECT count(*)::text AS cleaned, ${all ? notifyOfRows(namespace, "cleaned") : "NULL"} AS told FROM cleaned`;
}

/** The statements for one table. */
export interface Statements {
  /** Takes one name. */
  readonly acquire: string;
  /** Takes one name that is thought to be free; no answer when it is not. */
  readonly retake: string;
  /** Takes several names, each by itself. */
  readonly acquireEach: string;
  /** Takes several names that are thought to be free, each by itself. */
  readonly acquireFree: string;
  /** Takes several names or none. */
  readonly acquireAll: string;
  /** The live row of a name that another owner holds. `(name, owner)` */
  readonly peek: string;
  /** Extends one lock. */
  readonly renew: string;
  /** Extends several. */
  readonly renewEach: string;
  /** Extends those whose rows no other transaction has locked. */
  readonly renewUnlocked: string;
  /** Frees one lock. */
  readonly release: string;
  /** Frees one lock unless another transaction has locked its row. */
  readonly releaseUnlocked: string;
  /** Frees several. */
  readonly releaseEach: string;
  /** Keeps a live lock's row from changing hands until the caller's transaction ends. `(name, owner)` */
  readonly guard: string;
  /** Live rows by names. `(JSON array)` */
  readonly listNames: string;
  /** Live rows of these names and owners. `(array of names, array of owners)` */
  readonly heldEach: string;
  /** Rows by prefix, live ones or also the lapsed. `(prefix, include expired)` */
  readonly list: string;
  /** Frees lapsed locks. */
  readonly cleanExpired: string;
  /** Frees all locks. */
  readonly cleanAll: string;
  /** Which of the names are free; whether those held are vouched for by sessions. `(JSON array)` */
  readonly free: string;
}

/** Writes the statements for a table. */
export function statementsFor(table: string): Statements {
  const target = quoted(table);
  const namespace = namespaceOf(table);
  const select = `SELECT ${columns("l", "clock_timestamp()")} FROM ${target} AS l`;
  return {
    acquire: acquireOne(target),
    retake: retake(target),
    acquireEach: acquireSeveral(target, false),
    acquireFree: acquireFree(target),
    acquireAll: acquireSeveral(target, true),
    peek: `
      SELECT 'false' AS mine, ${columns("l", "clock_timestamp()")}, ${READ_ONLY}
      FROM ${target} AS l WHERE l.name = $1::text AND l.owner <> $2::text AND ${live("l")}`,
    renew: renew(target, false),
    renewEach: renew(target, true),
    renewUnlocked: renew(target, true, true),
    release: releaseOne(target, namespace),
    releaseUnlocked: releaseUnlocked(target, namespace),
    releaseEach: releaseSeveral(target, namespace),
    // what waited for the row lock is judged again: the clock went on meanwhile
    guard: `
      WITH kept AS MATERIALIZED (
        SELECT l.* FROM ${target} AS l WHERE l.name = $1::text AND l.owner = $2::text FOR SHARE)
      SELECT kept.name FROM kept WHERE ${live("kept")}`,
    listNames: `${select}
      WHERE l.name IN (SELECT json_array_elements_text($1::text::json)) AND ${live("l")} ORDER BY l.name`,
    heldEach: `${select}
      JOIN ${unnested(["name", "owner"])} AS wish (name, owner) ON l.name = wish.name
      WHERE l.owner = coalesce(wish.owner, l.owner) AND ${live("l")}`,
    list: `${select}
      WHERE l.listed AND l.owner IS NOT NULL AND l.name >= $1::text AND starts_with(l.name, $1::text)
        AND ($2::text = 'true' OR ${live("l")})
      ORDER BY l.name`,
    cleanExpired: clean(target, false, namespace),
    cleanAll: clean(target, true, namespace),
    free: `
      SELECT wish.name, (held.liveness IS NOT NULL)::text AS vouched, (held.name IS NULL)::text AS free,
        ${READ_ONLY}
      FROM json_array_elements_text($1::text::json) AS wish (name)
      LEFT JOIN ${target} AS held ON held.name = wish.name AND ${live("held")}`,
  };
}
