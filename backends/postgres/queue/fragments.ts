/**
 * SQL for the queue of one name. Its entries are JSON objects with the fields of `Entry`; the first holder is in the
 * columns of the row, the other holders and the waiters are in `line`, which is NULL for an exclusive lock without
 * waiters. A waiter has no `token`.
 *
 * @module
 */
import { GRACE_US, LATER_US } from "../../shared/line.ts";
import { listeningKey } from "../keys.ts";
import { microseconds } from "../rows/fragments.ts";
import { isAlive, live } from "../rows/liveness.ts";

/** SQL for a time from microseconds. */
export function timeOf(microseconds: string): string {
  return `timestamptz 'epoch' + (${microseconds})::bigint * interval '1 microsecond'`;
}

/**
 * SQL for whether a release grants a waiter the lock for its whole duration, on which the waiter relies at once: it
 * listens, and its lock ends with its session; or the duration is no longer than the grace. A lease would be held for all
 * of its time by a waiter whose machine has failed a moment ago.
 */
export function isWhole(entry: string): string {
  const duration = `(${entry}->>'duration')::bigint`;
  const ends = `${entry}->>'listener' IS NOT NULL AND ${entry}->>'liveness' IS NOT NULL AND ${duration} > 0`;
  return `coalesce(${ends} OR ${duration} <= ${GRACE_US}, false)`;
}

/** SQL for how long a waiter is granted the lock by the release of another client (µs). */
export function grantTime(entry: string): string {
  return `CASE WHEN ${isWhole(entry)} THEN (${entry}->>'duration')::bigint ELSE ${GRACE_US} END`;
}

/** SQL for whether the owner in `$2` has an entry in `line`; NULL without a queue. */
export const IN_LINE = "jsonb_build_object('owner', $2::text) <@ ANY (l.line)";

/** SQL for the first holder in the columns of the row `held`, as an entry. A lock may expire after the year 2106. */
const FIRST_ENTRY = `jsonb_build_object('owner', held.owner, 'limit', coalesce(held.slots, 1),
      'until', (extract(epoch FROM held.locked_until) * 1000000)::bigint,
      'token', coalesce(held.first_token, held.token),
      'since', ${microseconds("held.created_at")}, 'updated', ${microseconds("held.updated_at")},
      'lockedBy', held.locked_by, 'lockProcess', held.lock_process, 'metadata', held.metadata::text,
      'liveness', held.liveness::text, 'session', held.session_pid)`;

/**
 * SQL for whether an entry of `line` still counts. The key of the channel that a waiter listens on can be acquired
 * exactly when its process has disconnected; two statements that look at the same time may both share it.
 */
export function isLiveEntry(entry: string, now: string): string {
  const listens = `CASE WHEN ${entry}->>'token' IS NULL AND ${entry}->>'listener' IS NOT NULL
      THEN NOT pg_try_advisory_xact_lock_shared(${listeningKey(`${entry}->>'listener'`)}) ELSE true END`;
  return `((${entry}->>'until' IS NULL OR (${entry}->>'until')::bigint > ${now})
      AND ${isAlive(`(${entry}->>'liveness')::bigint`)} AND ${listens})`;
}

/** SQL for when a client came that had waited for so many microseconds when it sent the statement. */
export function cameAt(waited: string): string {
  return `${microseconds("statement_timestamp()")} - ${waited}::text::bigint`;
}

/** SQL for whether a waiter came later than `came`. One that seems to come from the future is not overtaken. */
export function isLater(entry: string, came: string): string {
  return `coalesce(${entry}->>'token' IS NULL AND (${entry}->>'came')::bigint > ${came} + ${LATER_US}
      AND (${entry}->>'came')::bigint <= clock.now, false)`;
}

/** SQL for how many wait, as text; NULL for a row without a queue. */
export function waitersOf(row: string): string {
  return `CASE WHEN ${row}.line IS NULL THEN NULL ELSE (
      SELECT count(*)::text FROM unnest(${row}.line) AS e (v)
      WHERE v->>'token' IS NULL AND ${isLiveEntry("v", microseconds("clock_timestamp()"))}) END`;
}

/** SQL for the holders beyond the first and the waiters, as text; NULL for a row without a queue. */
export const OTHERS = `CASE WHEN l.line IS NULL THEN NULL ELSE (
      SELECT jsonb_agg(v ORDER BY place)::text FROM unnest(l.line) WITH ORDINALITY AS e (v, place)
      WHERE CASE WHEN v->>'token' IS NULL THEN ${isLiveEntry("v", microseconds("clock_timestamp()"))}
        ELSE ${isAlive("(v->>'liveness')::bigint")} END) END`;

/**
 * CTEs `held`, the row of a name, `clock` and `entry`, all entries in order. With a lock the clock is read once the row
 * lock is held. `(name)`
 */
export function entriesOf(target: string, lock: boolean, condition = "true"): string {
  const locking = lock ? "FOR UPDATE OF l" : "";
  return `held AS MATERIALIZED (
      SELECT l.* FROM settings, ${target} AS l WHERE l.name = $1::text AND ${condition} ${locking}),
    clock AS MATERIALIZED (SELECT ${microseconds("clock_timestamp()")} AS now FROM held),
    entry AS MATERIALIZED (
      SELECT 0::bigint AS place, ${FIRST_ENTRY} AS v, ${live("held")} AS live
      FROM held WHERE held.owner IS NOT NULL
      UNION ALL
      SELECT e.place, e.v, ${isLiveEntry("e.v", "clock.now")}
      FROM held, clock, unnest(held.line) WITH ORDINALITY AS e (v, place))`;
}

/**
 * CTE `ranked`: the entries of `kept` with their places, and how many may hold the lock up to there. An entry holds it
 * exactly when its place is at most the smallest limit of the entries up to it.
 */
export const RANKED = `ranked AS (
      SELECT v, row_number() OVER up AS place, min((v->>'limit')::int) OVER up AS room
      FROM kept WINDOW up AS (ORDER BY place))`;

/**
 * CTEs `served`, the entries with a token for each that has come to hold the lock, and `line`, what to store. The
 * entry of this request is granted for its whole duration, others as `grantTime` says.
 */
export function served(owner: string): string {
  const time = grantTime("v");
  return `${RANKED},
    turn AS (
      SELECT *, v->>'token' IS NULL AND place <= room AS fresh,
        count(*) FILTER (WHERE v->>'token' IS NULL AND place <= room) OVER (ORDER BY place) AS nth
      FROM ranked),
    served AS MATERIALIZED (
      SELECT place, fresh, CASE WHEN NOT fresh THEN v ELSE v || jsonb_build_object(
          'token', greatest(held.token + 1, clock.now) + nth - 1, 'since', clock.now, 'updated', clock.now,
          'until', clock.now + CASE WHEN v->>'owner' = ${owner} THEN (v->>'duration')::bigint ELSE ${time} END) END AS v
      FROM turn, held, clock),
    line AS MATERIALIZED (
      SELECT entries, entries[1] AS first, highest, coalesce(cardinality(entries) = 1
          AND (entries[1]->>'limit')::int = 1 AND (entries[1]->>'token')::bigint = highest, true) AS plain
      FROM (
        SELECT array_agg(v ORDER BY place) AS entries, greatest(max((v->>'token')::bigint), max(held.token)) AS highest
        FROM held, served) AS stored)`;
}

/** CTE `written`: stores `line` in the row. */
export function written(target: string, condition: string): string {
  return `written AS (
      UPDATE ${target} AS l SET owner = first->>'owner', token = coalesce(highest, l.token),
        first_token = CASE WHEN plain THEN NULL ELSE (first->>'token')::bigint END,
        slots = nullif((first->>'limit')::int, 1), locked_by = coalesce(first->>'lockedBy', l.locked_by),
        lock_process = (first->>'lockProcess')::bigint,
        locked_until = CASE WHEN first IS NULL THEN l.locked_until ELSE ${timeOf("first->>'until'")} END,
        created_at = CASE WHEN first IS NULL THEN l.created_at ELSE ${timeOf("first->>'since'")} END,
        updated_at = ${timeOf("coalesce(first->>'updated', clock.now::text)")},
        metadata = (first->>'metadata')::json, liveness = (first->>'liveness')::bigint,
        session_pid = (first->>'session')::int, listed = first IS NOT NULL OR l.frequent,
        line_owner = CASE WHEN plain THEN NULL ELSE first->>'owner' END,
        line = CASE WHEN plain THEN NULL ELSE entries[2:] END
      FROM held, clock, line
      WHERE l.name = held.name AND ${condition}
      RETURNING l.name)`;
}
