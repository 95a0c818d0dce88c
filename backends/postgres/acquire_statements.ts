/**
 * The SQL that takes names. `excluded.*` has the clock of before the wait for a row lock: of 200 ms ago at worst, and
 * still of after the question was asked, which is what a holder counts its lease from. To read the clock once more in
 * ON CONFLICT costs a subquery for each row, a tenth of the whole statement.
 *
 * @module
 */
import { ATTEMPT_PATIENCE, columns, DURABLE, live, microseconds, patience, settings, wishes } from "./fragments.ts";

/** What an attempt asks for, in the order of its parameters. */
export const ACQUIRE_FIELDS = ["name", "owner", "duration", "holder", "process", "metadata"] as const;
/** The parameters after those: the liveness key and the session's pid. */
const LIVENESS = `$${ACQUIRE_FIELDS.length + 1}::text::bigint`;
const SESSION = `$${ACQUIRE_FIELDS.length + 2}::text::integer`;

/** A name that was free for less than this is taken often: its place in the index of what is held is kept. */
const OFTEN = "10 seconds";

/** The clock, read once for all: OFFSET keeps the planner from reading it for each row. */
const CLOCK = `(SELECT now, ${microseconds("now")} AS microseconds FROM clock_timestamp() AS now OFFSET 0) AS clock`;

const SETTINGS = settings(patience(ATTEMPT_PATIENCE), DURABLE);

/** A free name's row is written, or written over; what is held is not even locked, so that a loser writes nothing. */
function insert(target: string, wish: string, last: string): string {
  return `INSERT INTO ${target} AS l (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at,
        metadata, liveness, session_pid, listed, frequent)
      SELECT wish.name, wish.owner, microseconds, wish.holder, wish.process::bigint,
        now + wish.duration::bigint * interval '1 microsecond', now, now, wish.metadata::json, ${LIVENESS}, ${SESSION},
        true, false
      FROM ${wish}, ${CLOCK}
      WHERE NOT EXISTS (${heldOf(target, "wish")})
        AND CASE WHEN ${LIVENESS} IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared(${LIVENESS}) END
        ${last}
      ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, token = greatest(l.token + 1, excluded.token),
        locked_by = excluded.locked_by, lock_process = excluded.lock_process, locked_until = excluded.locked_until,
        created_at = excluded.created_at, updated_at = excluded.updated_at, metadata = excluded.metadata,
        liveness = excluded.liveness, session_pid = excluded.session_pid,
        listed = true, frequent = l.updated_at > excluded.updated_at - interval '${OFTEN}'
      WHERE NOT ${live("l")}
      RETURNING l.name, l.token, l.created_at`;
}

/** The live row of a wish. */
function heldOf(target: string, wish: string): string {
  return `SELECT FROM ${target} AS held WHERE held.name = ${wish}.name AND ${live("held")}`;
}

/** Takes one name; what is held is answered as it is, and of what was taken only what the taker does not know. */
export function acquireOne(target: string): string {
  const fields = ACQUIRE_FIELDS.map((field, index) => `$${index + 1}::text AS ${field}`).join(", ");
  const wish = `settings, (SELECT ${fields}) AS wish`;
  return `
    WITH ${SETTINGS}, taken AS (${insert(target, wish, "")})
    SELECT 'true' AS mine, taken.name, taken.token::text AS token, NULL AS holder, NULL AS process, NULL AS until,
      ${
    microseconds("taken.created_at")
  }::text AS created, NULL AS updated, NULL AS metadata, NULL AS session, NULL AS now
    FROM taken
    UNION ALL
    SELECT (held.owner = $2::text)::text, ${columns("held", "clock_timestamp()")} FROM ${target} AS held
    WHERE held.name = $1::text AND ${live("held")} AND NOT EXISTS (SELECT FROM taken)`;
}

/**
 * Takes several names, each by itself or all or nothing. What was taken is answered in one row, its tokens at the places
 * of the wishes: hundreds of rows would cost their reader as much as the writing did.
 */
export function acquireSeveral(target: string, allOrNothing: boolean): string {
  const others = `SELECT FROM wish AS other
        WHERE EXISTS (${heldOf(target, "other")} AND held.owner <> other.owner)`;
  // one order for everybody, so that no two statements can deadlock
  const last = `${allOrNothing ? `AND NOT EXISTS (${others})` : ""} ORDER BY wish.name COLLATE "C"`;
  // a name that was lost to another after the look makes an error, which rolls everything back
  const complete = `count(taken.name) IN (0, (SELECT count(*) FROM wish WHERE NOT EXISTS (${heldOf(target, "wish")})))`;
  return `
    WITH ${SETTINGS}, ${wishes(ACQUIRE_FIELDS)},
    taken AS (${insert(target, "wish", last)}),
    missed AS MATERIALIZED (SELECT * FROM wish WHERE NOT EXISTS (SELECT FROM taken WHERE taken.name = wish.name))
    SELECT string_agg(coalesce(taken.token::text, ''), ',' ORDER BY wish.place) AS tokens, NULL AS mine, NULL AS name,
      NULL AS token, NULL AS holder, NULL AS process, NULL AS until,
      ${
    microseconds("max(taken.created_at)")
  }::text AS created, NULL AS updated, NULL AS metadata, NULL AS session, NULL AS now
    FROM wish LEFT JOIN taken ON taken.name = wish.name
    ${allOrNothing ? `HAVING 1 / (CASE WHEN ${complete} THEN 1 ELSE 0 END) = 1` : ""}
    UNION ALL
    SELECT NULL, (held.owner = missed.owner)::text, ${columns("held", "clock_timestamp()")}
    FROM missed, LATERAL (SELECT * FROM ${target} AS held WHERE held.name = missed.name OFFSET 0) AS held
    WHERE ${live("held")}`; // OFFSET keeps the planner from reading the whole table for it
}
