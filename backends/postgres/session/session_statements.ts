/**
 * The SQL of session locks. A name's key is an advisory lock; its token is drawn in the same statement, under the lock.
 * Keys are parameters, which this process computes (`session_keys.ts`); several travel as one array in text, and what
 * came of each as one character of one text: a row for each costs twice as much as the lock itself.
 *
 * @module
 */
import { waitingForAny } from "../wakeup/registration.ts";
import { DURABLE, microseconds, READ_ONLY } from "../rows/fragments.ts";
import { keyOf, literal, notifyIfAwaited, notifyOfMany, waitingForKey } from "../keys.ts";
import { namespaceOf, quoted, sequenceOf } from "../schema.ts";
import { sessionKeyOf } from "./session_keys.ts";

/** What the statements for several names answer of each. */
export const DONE = "1";

/** The statements for the session locks of one table's name. */
export interface SessionStatements {
  /** Takes a name; `token` is NULL when it is held. `(key)` */
  readonly acquire: string;
  /** Takes several names, each by itself; `taken` says which, `token` is one for all of them. `(array of keys)` */
  readonly acquireEach: string;
  /** Frees a name; `freed` says whether it was held. `(key)` */
  readonly release: string;
  /** Frees several; `freed` says which were held. `(array of keys)` */
  readonly releaseEach: string;
  /**
   * Brings the sequence of tokens forward, to the clock at the least: what a crash or a failover has made it forget is
   * not drawn again. One at a time, and by more than is drawn meanwhile.
   */
  readonly advance: string;
  /** Whether this session holds a name. `(key)` */
  readonly verify: string;
  /** Which of the names any session holds, in the shape of rows. `(JSON array of names)` */
  readonly holders: string;
}

/** One key, and several. */
const KEY = "(SELECT $1::text::bigint AS key) AS k";
const KEYS = "unnest($1::text::bigint[]) AS key";

/** How far each new session brings the tokens forward at the least: more than were drawn since the last commit. */
const STRIDE = 1_000_000;

const NOW = `${microseconds("clock_timestamp()")}::text`;

/** Joins `pg_locks` to a key: a 64-bit key is two halves there. */
function heldBy(key: string): string {
  return `l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = (${key} >> 32) & 4294967295 AND l.objid::bigint = ${key} & 4294967295`;
}

/** Writes the statements for the namespace of a table. */
export function sessionStatementsFor(table: string): SessionStatements {
  const namespace = namespaceOf(table);
  const sequence = `${literal(quoted(sequenceOf(table)))}::regclass`;
  const token = `nextval(${sequence})::text`;
  const tell = notifyIfAwaited(waitingForKey("key"));
  return {
    acquire: `SELECT CASE WHEN pg_try_advisory_lock(key) THEN ${token} END AS token, ${NOW} AS now,
      ${READ_ONLY} FROM ${KEY}`,
    // the token is drawn when all are had: for each name it is higher than any that was drawn before under its lock
    acquireEach: `
      SELECT taken, CASE WHEN strpos(taken, '${DONE}') > 0 THEN ${token} END AS token, ${NOW} AS now, ${READ_ONLY}
      FROM (SELECT string_agg(CASE WHEN pg_try_advisory_lock(key) THEN '${DONE}' ELSE '0' END, '') AS taken
        FROM ${KEYS}) AS attempt`,
    release: `SELECT pg_advisory_unlock(key)::text AS freed, ${tell} AS told, ${READ_ONLY} FROM ${KEY}`,
    // most crowds are awaited by nobody: one look tells, where one for each name is a third of the statement
    releaseEach: `
      SELECT freed, ${
      notifyOfMany(waitingForAny(namespace), "length(freed)", `SELECT count(${tell}) FROM ${KEYS}`)
    } AS told, ${READ_ONLY}
      FROM (SELECT string_agg(CASE WHEN pg_advisory_unlock(key) THEN '${DONE}' ELSE '0' END, '') AS freed
        FROM ${KEYS}) AS release`,
    advance: `
      WITH settings AS MATERIALIZED (
        SELECT ${DURABLE} AS durable, pg_advisory_xact_lock(${keyOf("tokens", literal(namespace))})::text AS alone)
      SELECT setval(${sequence}, greatest(coalesce(pg_sequence_last_value(${sequence}), 0) + ${STRIDE},
        ${microseconds("clock_timestamp()")}))::text AS token, ${READ_ONLY}
      FROM settings`,
    verify: `
      SELECT EXISTS (SELECT FROM pg_locks AS l, ${KEY}
        WHERE l.pid = pg_backend_pid() AND ${heldBy("k.key")})::text AS held, ${READ_ONLY}`,
    holders: `
      SELECT DISTINCT ON (wish.name, l.pid) wish.name, '0' AS token,
        coalesce(nullif(a.application_name, ''), 'unknown') AS holder, NULL AS process, NULL AS until,
        ${NOW} AS created, ${NOW} AS updated, NULL AS metadata, l.pid::text AS session, ${NOW} AS now
      FROM (SELECT name, ${sessionKeyOf(namespace, "name")} AS key
        FROM json_array_elements_text($1::text::json) AS name) AS wish
      JOIN pg_locks AS l ON ${heldBy("wish.key")}
      LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
      ORDER BY wish.name, l.pid`,
  };
}
