/**
 * The SQL that takes names. `excluded.*` has the clock of before the wait for a row lock: of 200 ms ago at worst, and
 * still of after the question was asked, which is what a holder counts its lease from. To read the clock once more in
 * ON CONFLICT costs a subquery for each row, a tenth of the whole statement.
 *
 * @module
 */
import {
  ATTEMPT_PATIENCE,
  columns,
  DURABLE,
  IN_ORDER,
  live,
  microseconds,
  patience,
  settings,
  unnested,
  wishes,
} from "./fragments.ts";

/** What an attempt asks for, in the order of its parameters. */
export const ACQUIRE_FIELDS = ["name", "owner", "duration", "holder", "process", "metadata"] as const;
/** The parameters after those: the liveness key and the session's pid. */
const LIVENESS = `$${ACQUIRE_FIELDS.length + 1}::text::bigint`;
const SESSION = `$${ACQUIRE_FIELDS.length + 2}::text::integer`;

/** A name that was free for less than this is taken often: its place in the index of what is held is kept. */
const OFTEN = "10 seconds";

/**
 * The clock, read once for all: OFFSET keeps the planner from reading it for each row. It stands still where the session
 * that is to vouch for what is taken has ended.
 */
const CLOCK = `(SELECT now, ${microseconds("now")} AS microseconds FROM clock_timestamp() AS now
      WHERE CASE WHEN ${LIVENESS} IS NULL THEN true ELSE NOT pg_try_advisory_xact_lock_shared(${LIVENESS}) END
      OFFSET 0) AS clock`;

const SETTINGS = settings(patience(ATTEMPT_PATIENCE), DURABLE);

/** The parameter of a field. */
function parameter(name: typeof ACQUIRE_FIELDS[number]): string {
  return `$${ACQUIRE_FIELDS.indexOf(name) + 1}::text`;
}

/** Where wishes come from, and how an INSERT takes them. */
interface Wanted {
  /** What comes before the clock in FROM. */
  readonly from: string;
  /** What comes after it. */
  readonly where: string;
  /** SQL for a field of a wish that is not its name or its owner. */
  readonly field: (name: typeof ACQUIRE_FIELDS[number]) => string;
}

/** The token of a row that is written over; that of a request which is repeated stays. */
function nextToken(owner: string, clock: string): string {
  return `CASE WHEN l.owner = ${owner} THEN l.token ELSE greatest(l.token + 1, ${clock}) END`;
}

/** A free name's row is written, or written over. */
function insert(target: string, { from, where, field }: Wanted): string {
  return `INSERT INTO ${target} AS l (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at,
        metadata, liveness, session_pid, listed, frequent)
      SELECT wish.name, wish.owner, microseconds, ${field("holder")}, ${field("process")}::bigint,
        now + ${field("duration")}::bigint * interval '1 microsecond', now, now, ${field("metadata")}::json,
        ${LIVENESS}, ${SESSION}, true, false
      FROM ${from}, ${CLOCK}
      ${where}
      ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, token = ${nextToken("excluded.owner", "excluded.token")},
        locked_by = excluded.locked_by, lock_process = excluded.lock_process, locked_until = excluded.locked_until,
        created_at = excluded.created_at, updated_at = excluded.updated_at, metadata = excluded.metadata,
        liveness = excluded.liveness, session_pid = excluded.session_pid,
        listed = true, frequent = l.updated_at > excluded.updated_at - interval '${OFTEN}'
      WHERE l.owner = excluded.owner OR NOT ${live("l")}
      RETURNING l.name, l.token, l.created_at`;
}

/** What is held is not even locked, so that a loser writes nothing. */
function notHeld(target: string): string {
  return `NOT EXISTS (${heldOf(target, "wish")})`;
}

/** A field of a wish that comes as a table. */
function ofWish(field: string): string {
  return `wish.${field}`;
}

/**
 * The live row of another owner. A row of the same owner is free to it: a repeated request takes it again, with the
 * liveness key of the session that vouches for it now.
 */
function heldOf(target: string, wish: string): string {
  return `SELECT FROM ${target} AS held
    WHERE held.name = ${wish}.name AND held.owner <> ${wish}.owner AND ${live("held")}`;
}

/** Takes one name; what is held is answered as it is, and of what was taken only what the taker does not know. */
export function acquireOne(target: string): string {
  const fields = ACQUIRE_FIELDS.map((field) => `${parameter(field)} AS ${field}`).join(", ");
  const wanted = { from: `settings, (SELECT ${fields}) AS wish`, where: `WHERE ${notHeld(target)}`, field: ofWish };
  return `
    WITH ${SETTINGS}, taken AS (${insert(target, wanted)})
    SELECT 'true' AS mine, taken.name, taken.token::text AS token, NULL AS holder, NULL AS process, NULL AS until,
      ${
    microseconds("taken.created_at")
  }::text AS created, NULL AS updated, NULL AS metadata, NULL AS session, NULL AS now
    FROM taken
    UNION ALL
    SELECT 'false', ${columns("held", "clock_timestamp()")} FROM ${target} AS held
    WHERE held.name = $1::text AND held.owner <> $2::text AND ${live("held")} AND NOT EXISTS (SELECT FROM taken)`;
}

/**
 * Takes one name that is thought to be free: an UPDATE, which neither locks nor writes what is held. Without an answer
 * {@linkcode acquireOne} has to be asked, which costs the server 34 µs more.
 */
export function retake(target: string): string {
  return `
    UPDATE ${target} AS l SET owner = ${parameter("owner")}, token = ${nextToken(parameter("owner"), "microseconds")},
      locked_by = ${parameter("holder")}, lock_process = ${parameter("process")}::bigint,
      locked_until = now + ${parameter("duration")}::bigint * interval '1 microsecond',
      created_at = now, updated_at = now, metadata = ${parameter("metadata")}::json,
      liveness = ${LIVENESS}, session_pid = ${SESSION},
      listed = true, frequent = l.updated_at > now - interval '${OFTEN}'
    FROM (SELECT ${patience(ATTEMPT_PATIENCE)}, ${DURABLE}) AS settings, ${CLOCK}
    WHERE l.name = ${parameter("name")} AND (l.owner = ${parameter("owner")} OR NOT ${live("l")})
    RETURNING 'true' AS mine, l.name, l.token::text AS token, ${
    microseconds("l.created_at")
  }::text AS created, NULL AS now`;
}

/**
 * Takes several names, each by itself or all or nothing. What was taken is answered in one row, its tokens at the places
 * of the wishes: hundreds of rows would cost their reader as much as the writing did.
 */
export function acquireSeveral(target: string, allOrNothing: boolean): string {
  const others = `SELECT FROM wish AS other
        WHERE EXISTS (${heldOf(target, "other")})`;
  const where = `WHERE ${notHeld(target)} ${allOrNothing ? `AND NOT EXISTS (${others})` : ""} ${IN_ORDER}`;
  // a name that was lost to another after the look makes an error, which rolls everything back
  const complete = `count(taken.name) IN (0, (SELECT count(*) FROM wish WHERE ${notHeld(target)}))`;
  return `
    WITH ${SETTINGS}, ${wishes(ACQUIRE_FIELDS)},
    taken AS (${insert(target, { from: "wish", where, field: ofWish })}),
    missed AS MATERIALIZED (SELECT * FROM wish WHERE NOT EXISTS (SELECT FROM taken WHERE taken.name = wish.name))
    SELECT string_agg(coalesce(taken.token::text, ''), ',' ORDER BY wish.place) AS tokens, NULL AS mine, NULL AS name,
      NULL AS token, NULL AS holder, NULL AS process, NULL AS until,
      ${
    microseconds("max(taken.created_at)")
  }::text AS created, NULL AS updated, NULL AS metadata, NULL AS session, NULL AS now
    FROM wish LEFT JOIN taken ON taken.name = wish.name
    ${allOrNothing ? `HAVING 1 / (CASE WHEN ${complete} THEN 1 ELSE 0 END) = 1` : ""}
    UNION ALL
    SELECT NULL, 'false', ${columns("held", "clock_timestamp()")}
    FROM missed, LATERAL (SELECT * FROM ${target} AS held WHERE held.name = missed.name OFFSET 0) AS held
    WHERE held.owner <> missed.owner AND ${live("held")}`; // OFFSET keeps the planner from reading the whole table for it
}

/**
 * Takes several names that are thought to be free, for wishes that differ in nothing else: only these are in arrays. The
 * answer is how many were taken and the token of all, the clock; who was mistaken has to ask {@linkcode acquireSeveral},
 * which finds what was taken here. A third less work for the server: no looks before and after, no places to be found.
 */
export function acquireFree(target: string): string {
  const from = `settings, ${unnested(["name", "owner"])} AS wish (name, owner)`;
  return `
    WITH ${SETTINGS}, taken AS (${insert(target, { from, where: IN_ORDER, field: parameter })})
    SELECT count(*)::text AS count, min(token)::text AS token, max(token)::text AS last,
      ${microseconds("max(created_at)")}::text AS created
    FROM taken`;
}
