/**
 * The SQL that acquires names. `(name, owner, duration, holder, process, metadata, liveness key, session pid)`, with an
 * array for each of the first six where several are acquired.
 *
 * `excluded.*` has the clock of before the wait for a row lock: at worst 200 ms ago, and still after the request was
 * sent, which is what a holder measures its lease from. To read the clock once more in ON CONFLICT takes a subquery for
 * each row, a tenth of the whole statement.
 *
 * @module
 */
import { ACQUIRE_LOCK_TIMEOUT, DURABLE, IN_ORDER, lockTimeout, microseconds, requests, settings } from "./fragments.ts";
import { live } from "./liveness.ts";
import { columns } from "./rows.ts";

const SETTINGS = settings(lockTimeout(ACQUIRE_LOCK_TIMEOUT), DURABLE);

const ONE_REQUEST = `request AS MATERIALIZED (
    SELECT $1::text AS name, $2::text AS owner, $3::text AS duration, $4::text AS holder, $5::text AS process,
      $6::text AS metadata
    FROM settings)`;

const SEVERAL_REQUESTS = requests("name", "owner", "duration", "holder", "process", "metadata");

/**
 * The clock, read once for all rows: OFFSET keeps the planner from reading it for each. It has no row when the session
 * of the liveness lock has ended, and then nothing is acquired.
 */
const CLOCK = `(SELECT now, ${microseconds("now")} AS microseconds FROM clock_timestamp() AS now
      WHERE CASE WHEN $7::text IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared($7::text::bigint) END
      OFFSET 0) AS clock`;

/** A name that was free for less than this is acquired often, and stays in the index of held names. */
const FREQUENT_INTERVAL = "10 seconds";

/** Whether a row has a queue, or is the live one of another owner. */
export function isUnavailable(row: string, owner: string): string {
  return `(${row}.line IS NOT NULL OR (${row}.owner <> ${owner} AND ${live(row)}))`;
}

/**
 * A row with a queue, or the live one of another owner. A row of the same owner counts as free: a repeated request
 * acquires it again, with the liveness key of the present session.
 */
function heldByOther(target: string, request: string): string {
  return `EXISTS (
      SELECT FROM ${target} AS held
      WHERE held.name = ${request}.name AND ${isUnavailable("held", `${request}.owner`)})`;
}

/** Writes the rows of the requested names that are free; a held row is not even locked. A repeated request keeps its token. */
function acquired(target: string, condition: string, order: string): string {
  return `acquired AS (
      INSERT INTO ${target} AS l (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at,
        metadata, liveness, session_pid, listed, frequent)
      SELECT request.name, request.owner, microseconds, request.holder, request.process::bigint,
        now + request.duration::bigint * interval '1 microsecond', now, now, request.metadata::json,
        $7::text::bigint, $8::text::integer, true, false
      FROM request, ${CLOCK}
      WHERE ${condition}
      ${order}
      ON CONFLICT (name) DO UPDATE SET owner = excluded.owner,
        token = CASE WHEN l.owner = excluded.owner THEN l.token ELSE greatest(l.token + 1, excluded.token) END,
        locked_by = excluded.locked_by, lock_process = excluded.lock_process, locked_until = excluded.locked_until,
        created_at = excluded.created_at, updated_at = excluded.updated_at, metadata = excluded.metadata,
        liveness = excluded.liveness, session_pid = excluded.session_pid,
        listed = true, frequent = l.updated_at > excluded.updated_at - interval '${FREQUENT_INTERVAL}'
      WHERE l.line IS NULL AND (l.owner = excluded.owner OR NOT ${live("l")})
      RETURNING l.name, l.token, l.created_at)`;
}

/** A grant in the columns of a row: only what the client does not know already. */
function grant(token: string, createdAt: string): string {
  return `SELECT NULL AS name, ${token} AS token, NULL AS holder, NULL AS process, NULL AS until,
      ${microseconds(createdAt)}::text AS created, NULL AS updated, NULL AS metadata, NULL AS session, NULL AS now,
      NULL AS slots, NULL AS waiters, NULL AS queued`;
}

/** Acquires one name; the row of a held name is the answer. */
export function acquireOne(target: string): string {
  return `
    WITH ${SETTINGS}, ${ONE_REQUEST}, ${acquired(target, `NOT ${heldByOther(target, "request")}`, "")}
    ${grant("token::text", "created_at")} FROM acquired
    UNION ALL
    SELECT ${columns("held", "clock_timestamp()", "NULL")} FROM ${target} AS held
    WHERE held.name = $1::text AND ${isUnavailable("held", "$2::text")} AND NOT EXISTS (SELECT FROM acquired)`;
}

/**
 * Acquires several names that this process has released, for requests that differ only in name and owner: only these two
 * are arrays. The answer is one row with the number of grants and their lowest and highest token. Without the looks before
 * and after it takes 6 ms of the server for 256 names, where {@linkcode acquireSeveral} takes 9.6. When it acquires less
 * than all, that one has to follow, which finds what was acquired here by the owner.
 */
export function acquireReleased(target: string): string {
  return `
    WITH ${SETTINGS}, request AS (
      SELECT name, owner, $3::text AS duration, $4::text AS holder, $5::text AS process, $6::text AS metadata
      FROM settings, unnest((SELECT $1::text)::text[], (SELECT $2::text)::text[]) AS r (name, owner)),
    ${acquired(target, "true", IN_ORDER)}
    SELECT count(*)::text AS count, min(token)::text AS token, max(token)::text AS last,
      ${microseconds("max(created_at)")}::text AS created
    FROM acquired`;
}

/**
 * Acquires several names, each by itself or all or none. All grants are one row, with the tokens at the places of the
 * requests: to read hundreds of rows would take as long as to write them.
 */
export function acquireSeveral(target: string, allOrNone: boolean): string {
  const isFree = `NOT ${heldByOther(target, "request")}`;
  const areFree = `NOT EXISTS (SELECT FROM request AS other WHERE ${heldByOther(target, "other")})`;
  // a name that another client acquired after the look makes an error, which rolls everything back
  const complete = `count(acquired.name) IN (0, (
      SELECT count(*) FROM request AS free WHERE NOT ${heldByOther(target, "free")}))`;
  return `
    WITH ${SETTINGS}, ${SEVERAL_REQUESTS},
    ${acquired(target, allOrNone ? areFree : isFree, IN_ORDER)},
    missed AS MATERIALIZED (
      SELECT * FROM request WHERE NOT EXISTS (SELECT FROM acquired WHERE acquired.name = request.name))
    ${grant("string_agg(coalesce(acquired.token::text, ''), ',' ORDER BY request.place)", "max(acquired.created_at)")}
    FROM request LEFT JOIN acquired ON acquired.name = request.name
    ${allOrNone ? `HAVING 1 / (CASE WHEN ${complete} THEN 1 ELSE 0 END) = 1` : ""}
    UNION ALL
    SELECT ${columns("held", "clock_timestamp()", "NULL")}
    FROM missed, LATERAL (SELECT * FROM ${target} AS held WHERE held.name = missed.name OFFSET 0) AS held
    WHERE ${isUnavailable("held", "missed.owner")}`; // OFFSET keeps the planner from reading the whole table
}
