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
/** What all wishes of a crowd may have in common: then it is not in arrays but in parameters of its own, after the rest. */
export const COMMON_FIELDS = ["duration", "holder", "process", "metadata"] as const;

/** The parameters after the fields: the liveness key, the session's pid, and what is in common. */
const LIVENESS = `$${ACQUIRE_FIELDS.length + 1}::text::bigint`;
const SESSION = `$${ACQUIRE_FIELDS.length + 2}::text::integer`;
const COMMON = ACQUIRE_FIELDS.length + 3;
/** The last: `true` when all names are known to be free, so that looking at them first would be in vain. */
const KNOWN_FREE = `$${COMMON + COMMON_FIELDS.length}::text`;

/** What a wish has, by itself or in common with the others. */
function ofWish(field: typeof COMMON_FIELDS[number]): string {
  return `coalesce(wish.${field}, $${COMMON + COMMON_FIELDS.indexOf(field)}::text)`;
}

/** A name that was free for less than this is taken often: its place in the index of what is held is kept. */
const OFTEN = "10 seconds";

/** The clock, read once for all: OFFSET keeps the planner from reading it for each row. */
const CLOCK = `(SELECT now, ${microseconds("now")} AS microseconds FROM clock_timestamp() AS now OFFSET 0) AS clock`;

const SETTINGS = settings(patience(ATTEMPT_PATIENCE), DURABLE);

/** Whom an INSERT is for: one wish or several. */
interface Wanted {
  /** What comes before the clock in FROM. */
  readonly from: string;
  /** SQL for a field of the wish. */
  readonly field: (name: typeof COMMON_FIELDS[number]) => string;
  /** SQL for whether it is not held, or need not be looked at. */
  readonly free: string;
  /** What comes after WHERE besides. */
  readonly rest?: string;
}

/** A free name's row is written, or written over; what is held is not even locked, so that a loser writes nothing. */
function insert(target: string, { from, field, free, rest = "" }: Wanted): string {
  return `INSERT INTO ${target} AS l (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at,
        metadata, liveness, session_pid, listed, frequent)
      SELECT wish.name, wish.owner, microseconds, ${field("holder")}, ${field("process")}::bigint,
        now + ${field("duration")}::bigint * interval '1 microsecond', now, now, ${field("metadata")}::json,
        ${LIVENESS}, ${SESSION}, true, false
      FROM ${from}, ${CLOCK}
      WHERE ${free}
        AND CASE WHEN ${LIVENESS} IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared(${LIVENESS}) END
        ${rest}
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
  const wanted = {
    from: `settings, (SELECT ${fields}) AS wish`,
    field: (name: string) => `wish.${name}`,
    free: `NOT EXISTS (${heldOf(target, "wish")})`,
  };
  return `
    WITH ${SETTINGS}, taken AS (${insert(target, wanted)})
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
 * Takes several names, each by itself or all or nothing. What was taken is answered in one row: the token alone when all
 * were taken and have the same, the clock, as is the rule; else tokens at the places of the wishes. Hundreds of rows would
 * cost their reader as much as the writing did.
 */
export function acquireSeveral(target: string, allOrNothing: boolean): string {
  const others = `SELECT FROM wish AS other
        WHERE EXISTS (${heldOf(target, "other")} AND held.owner <> other.owner)`;
  const wanted = {
    from: "wish",
    field: ofWish,
    free: `(${KNOWN_FREE} = 'true' OR NOT EXISTS (${heldOf(target, "wish")}))`,
    // one order for everybody, so that no two statements can deadlock
    rest: `${allOrNothing ? `AND NOT EXISTS (${others})` : ""} ORDER BY wish.name COLLATE "C"`,
  };
  const all = "(SELECT count(*) FROM wish)";
  // a name that was lost to another after the look makes an error, which rolls everything back
  const complete = `count(*) IN (0, ${all}, (SELECT count(*) FROM wish WHERE NOT EXISTS (${heldOf(target, "wish")})))`;
  return `
    WITH ${SETTINGS}, ${wishes(ACQUIRE_FIELDS)},
    taken AS (${insert(target, wanted)}),
    summary AS MATERIALIZED (
      SELECT CASE WHEN count(*) = ${all} AND min(token) = max(token) THEN min(token) END AS token,
        ${microseconds("max(created_at)")} AS created
      FROM taken ${allOrNothing ? `HAVING 1 / (CASE WHEN ${complete} THEN 1 ELSE 0 END) = 1` : ""})
    SELECT CASE WHEN token IS NULL THEN (
        SELECT string_agg(coalesce(taken.token::text, ''), ',' ORDER BY wish.place)
        FROM wish LEFT JOIN taken ON taken.name = wish.name) END AS tokens, NULL AS mine, NULL AS name,
      token::text AS token, NULL AS holder, NULL AS process, NULL AS until, created::text AS created, NULL AS updated,
      NULL AS metadata, NULL AS session, NULL AS now
    FROM summary
    UNION ALL
    SELECT NULL, (held.owner = missed.owner)::text, ${columns("held", "clock_timestamp()")}
    FROM (SELECT * FROM wish WHERE NOT EXISTS (SELECT FROM taken WHERE taken.name = wish.name) OFFSET 0) AS missed,
      LATERAL (SELECT * FROM ${target} AS held WHERE held.name = missed.name OFFSET 0) AS held
    WHERE (SELECT token FROM summary) IS NULL AND ${live("held")}`; // OFFSET keeps the planner from reading the whole table for it
}
