/**
 * The SQL of leases and hybrid locks.
 *
 * @module
 */
import { IN_LINE, isLiveEntry, OTHERS } from "../queue/fragments.ts";
import { handOver, queueStatements } from "../queue/queue_statements.ts";
import { namespaceOf, quoted } from "../schema.ts";
import { acquireOne, acquireReleased, acquireSeveral, isUnavailable } from "./acquire_statements.ts";
import {
  CLEAN_LOCK_TIMEOUT,
  commit,
  DURABLE,
  IN_ORDER,
  lockTimeout,
  microseconds,
  READ_ONLY,
  requests,
  RETRIED_LOCK_TIMEOUT,
  settings,
  SOON_MINUTES,
} from "./fragments.ts";
import { current, live, RENEWABLE } from "./liveness.ts";
import { columns } from "./rows.ts";

/** Whose lock a request is about: an owner, `#` and a token, or NULL for any holder. */
function isOf(whose: string): string {
  return `coalesce(${whose}, l.owner) IN (l.owner, '#' || coalesce(l.first_token, l.token)::text)`;
}

/** The same of a request for one name. `(name, whose)` */
const OF_OWNER = `l.name = $1::text AND ${isOf("$2::text")}`;

/** Extends live locks and never shortens them. `(name, whose, start, added)` */
function renew(target: string, several: boolean, skipLocked = false): string {
  const one = `SELECT $1::text AS name, $2::text AS owner, $3::text AS start, $4::text AS added FROM settings`;
  const inOrder = `SELECT request.* FROM ${target} AS l JOIN request ON l.name = request.name
      ORDER BY l.name FOR UPDATE OF l ${skipLocked ? "SKIP LOCKED" : ""}`;
  return `
    WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT), DURABLE)},
    ${several ? `${requests("name", "owner", "start", "added")},` : ""}
    renewal AS MATERIALIZED (${several ? inOrder : one})
    UPDATE ${target} AS l SET (locked_until, updated_at) = (
      SELECT CASE WHEN l.locked_until IS NULL OR renewal.added IS NULL THEN NULL
          ELSE greatest(l.locked_until, renewal.added::bigint * interval '1 microsecond' +
            CASE renewal.start WHEN 'now' THEN now WHEN 'expiry' THEN l.locked_until
              ELSE timestamptz 'epoch' + renewal.start::bigint * interval '1 microsecond' END) END, now
      FROM (SELECT clock_timestamp() AS now OFFSET 0) AS clock)
    FROM renewal
    WHERE l.name = renewal.name AND ${isOf("renewal.owner")} AND ${RENEWABLE}
    RETURNING ${columns("l", "l.updated_at")}`;
}

/** A row that is free from now on. */
function free(now = "clock_timestamp()", session = "NULL"): string {
  return `owner = NULL, updated_at = ${now}, metadata = NULL, liveness = NULL, session_pid = ${session},
        listed = l.frequent`;
}

/** A row that a release frees, also after its session has ended: then its `session_pid` says that nothing was held. */
function released(now?: string): string {
  return free(now, `CASE WHEN ${live("l")} THEN NULL ELSE 0 END`);
}

/** Whether a row that {@linkcode released} has freed was held. */
const WAS_HELD = "l.session_pid IS NULL AS held";

/** Whether a row that was just released would have expired soon: a release keeps the expiry. */
const EXPIRES_SOON = `coalesce(l.locked_until <= l.updated_at + interval '${SOON_MINUTES} minutes', false)`;

/** SQL that frees the row of a lock without a queue. `held` says whether the lock was live. `(name, whose)` */
function freeOne(target: string): string {
  return `UPDATE ${target} AS l SET ${released()} FROM settings
      WHERE ${OF_OWNER} AND l.line IS NULL AND ${current("l")}
      RETURNING (l.session_pid IS NULL)::text AS held, ${commit(EXPIRES_SOON)}`;
}

/**
 * Releases several locks without queues; the answer is a text with a digit at the place of each request. It is an upsert
 * because that finds each row by the primary key, and in one order for all statements: a join that was planned while the
 * table was small read all of it for each name later. A name without a row gets a free one, which its `session_pid`
 * tells from the row of a lock that was held. `(names, whose)`
 */
function releaseSeveral(target: string): string {
  return `
    WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT))}, ${requests("name", "owner")},
    written AS (
      INSERT INTO ${target} AS l (name, token, locked_by, locked_until, created_at, updated_at, session_pid,
        listed, frequent)
      SELECT request.name, ${microseconds("now")}, coalesce(request.owner, ''), now, now, now, 0, false, false
      FROM request, clock_timestamp() AS now
      ${IN_ORDER}
      ON CONFLICT (name) DO UPDATE SET ${released("excluded.updated_at")}
      WHERE ${isOf("nullif(excluded.locked_by, '')")} AND l.line IS NULL AND ${current("l")}
      RETURNING l.name, ${WAS_HELD}, ${EXPIRES_SOON} AS soon),
    released AS (SELECT name FROM written WHERE held)
    SELECT (
        SELECT string_agg(CASE WHEN released.name IS NULL THEN '0' ELSE '1' END, '' ORDER BY request.place)
        FROM request LEFT JOIN released ON released.name = request.name) AS released,
      ${commit("bool_and(soon)")}
    FROM written`;
}

/** Removes expired locks without queues, or all, and deletes rows free for a day whose token the clock has passed. */
function clean(target: string, all: boolean): string {
  const condition = `l.owner IS NOT NULL AND l.line IS NULL ${all ? "" : `AND NOT ${live("l")}`}`;
  return `
    WITH ${settings(lockTimeout(CLEAN_LOCK_TIMEOUT), DURABLE)},
    chosen AS MATERIALIZED (
      SELECT l.name FROM settings, ${target} AS l WHERE l.listed AND ${condition}
      ORDER BY l.name FOR UPDATE OF l ${all ? "" : "SKIP LOCKED"}),
    cleaned AS (
      UPDATE ${target} AS l SET ${free()} FROM chosen WHERE l.name = chosen.name AND ${condition} RETURNING l.name),
    stale AS MATERIALIZED (
      SELECT l.name FROM ${target} AS l
      WHERE l.owner IS NULL AND l.line IS NULL AND l.updated_at < clock_timestamp() - interval '1 day'
        AND l.token < ${microseconds("clock_timestamp()")}
      FOR UPDATE OF l SKIP LOCKED),
    deleted AS (DELETE FROM ${target} AS l USING stale WHERE l.name = stale.name)
    SELECT count(*)::text AS cleaned FROM cleaned`;
}

/**
 * Locks the row of a live lock until the caller's transaction ends. Time may pass until the row lock is acquired: the
 * expiry is checked after it. `(name, owner)`
 */
function guard(target: string): string {
  return `
    WITH kept AS MATERIALIZED (
      SELECT l.* FROM ${target} AS l WHERE l.name = $1::text AND (l.owner = $2::text
        OR ${IN_LINE}) FOR SHARE)
    SELECT pg_catalog.txid_current()::text AS transaction, current_setting('transaction_isolation') AS isolation, EXISTS (
      SELECT FROM kept WHERE (kept.owner = $2::text AND ${live("kept")}) OR EXISTS (
        SELECT FROM unnest(kept.line) AS e (v) WHERE v->>'owner' = $2::text AND v->>'token' IS NOT NULL
          AND ${isLiveEntry("v", microseconds("clock_timestamp()"))}))::text AS live`;
}

/** The statements for one table. */
export type Statements = ReturnType<typeof statementsFor>;

/** Writes the statements for a table. */
export function statementsFor(table: string) {
  const target = quoted(table);
  const namespace = namespaceOf(table);
  const select = `SELECT ${columns("l", "clock_timestamp()")} FROM ${target} AS l`;
  const listed = `SELECT ${columns("l", "clock_timestamp()")}, ${OTHERS} AS others,
        CASE WHEN l.owner IS NOT NULL THEN (${live("l")})::text END AS live
      FROM ${target} AS l WHERE (l.line IS NOT NULL OR (l.owner IS NOT NULL AND ($2::text = 'true' OR ${live("l")})))`;
  return {
    acquire: acquireOne(target),
    acquireEach: acquireSeveral(target, false),
    acquireAll: acquireSeveral(target, true),
    acquireReleased: acquireReleased(target),
    ...queueStatements(target, namespace),
    /** Whether a session has ended, by the key of its liveness lock. `(key)` */
    isGone: "SELECT pg_try_advisory_xact_lock_shared($1::text::bigint)::text AS gone",
    /** The row with a queue, or the live one of another owner. `(name, owner)` */
    selectHolder: `
      SELECT ${columns("l", "clock_timestamp()", "NULL")}, ${READ_ONLY}
      FROM ${target} AS l WHERE l.name = $1::text AND ${isUnavailable("l", "$2::text")}`,
    renew: renew(target, false),
    renewEach: renew(target, true),
    /** Extends the locks whose rows are not locked. */
    renewUnlocked: renew(target, true, true),
    release: `WITH ${settings(lockTimeout(RETRIED_LOCK_TIMEOUT))} ${freeOne(target)}`,
    handOver: handOver(target, namespace, freeOne(target)),
    releaseEach: releaseSeveral(target),
    guard: guard(target),
    /** Rows by names: live ones, or also expired ones. `(JSON array, include expired)` */
    listNames: `${listed} AND l.name IN (SELECT json_array_elements_text($1::text::json))
      ORDER BY l.name`,
    /** Live rows of these requests. `(names, whose)` */
    listOwned: `${select}
      JOIN unnest((SELECT $1::text)::text[], (SELECT $2::text)::text[]) AS request (name, owner) ON l.name = request.name
      WHERE ${isOf("nullif(request.owner, '')")} AND ${live("l")}`,
    /** Rows by prefix: live ones, or also expired ones. `(prefix, include expired)` */
    list: `${listed} AND l.listed AND l.name >= $1::text AND starts_with(l.name, $1::text)
      ORDER BY l.name`,
    cleanExpired: clean(target, false),
    cleanAll: clean(target, true),
    /**
     * Which of the names have a holder that is gone, or none, whether a session carries the first, for how many ms its
     * lease lasts, the highest token, and the place in the queue of the waiter that listens on a channel.
     * `(JSON array, channel)`
     */
    poll: `
      SELECT request.name, (held.liveness IS NOT NULL)::text AS session, held.token::text AS token, ${READ_ONLY},
        ${microseconds("clock_timestamp()")}::text AS now,
        (extract(epoch FROM held.locked_until - clock_timestamp()) * 1000)::bigint::text AS lasts, (
          SELECT (min(place) FILTER (WHERE v->>'token' IS NULL AND v->>'listener' = $2::text)
            - count(*) FILTER (WHERE v->>'token' IS NOT NULL))::text
          FROM unnest(held.line) WITH ORDINALITY AS e (v, place)) AS position,
        (held.name IS NULL OR EXISTS (
          SELECT FROM unnest(held.line) AS e (v) WHERE v->>'token' IS NOT NULL
            AND NOT ${isLiveEntry("v", microseconds("clock_timestamp()"))}))::text AS free
      FROM json_array_elements_text($1::text::json) AS request (name)
      LEFT JOIN ${target} AS held ON held.name = request.name AND ${live("held")}`,
  };
}
