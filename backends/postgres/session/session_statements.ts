/**
 * The SQL of session locks. A name's key is an advisory lock; its token is drawn in the same statement, under the lock.
 * Keys are parameters, computed by this process. Several are one array, and their results one text with a character for
 * each: a row for each would cost twice as much as the lock itself.
 *
 * @module
 */
import { notifyIfAwaited, notifyOfMany, waitingForKey } from "../wakeup/registration.ts";
import { DURABLE, microseconds, READ_ONLY, SERVER } from "../rows/fragments.ts";
import { keyOf, literal, sessionKeyOf } from "../keys.ts";
import { namespaceOf, quoted, sequenceOf } from "../schema.ts";

/** The character of a key that was acquired or released. */
export const DONE = "1";

/** One key, and several. */
const KEY = "(SELECT $1::text::bigint AS key) AS k";
const KEYS = "unnest($1::text::bigint[]) AS key";

/** How far each new session advances the tokens at least: more than were drawn since the last commit. */
const TOKEN_STRIDE = 1_000_000;

const NOW = `${microseconds("clock_timestamp()")}::text`;

/** Joins `pg_locks` to a key: a 64-bit key is two halves there. */
function heldBy(key: string): string {
  return `l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = (${key} >> 32) & 4294967295 AND l.objid::bigint = ${key} & 4294967295`;
}

/** The statements for the session locks of one table. */
export type SessionStatements = ReturnType<typeof sessionStatementsFor>;

/** Writes the statements for the namespace of a table. */
export function sessionStatementsFor(table: string) {
  const namespace = namespaceOf(table);
  const sequence = `${literal(quoted(sequenceOf(table)))}::regclass`;
  const token = `nextval(${sequence})::text`;
  const notify = notifyIfAwaited(waitingForKey("key"));
  const notifyEach = notifyOfMany(namespace, "length(freed)", `SELECT count(${notify}) FROM ${KEYS}`);
  return {
    /** Acquires a key; `token` is NULL when it is held. `(key)` */
    acquire: `SELECT CASE WHEN pg_try_advisory_lock(key) THEN ${token} END AS token, ${NOW} AS now,
      ${READ_ONLY}, ${SERVER} FROM ${KEY}`,
    /**
     * Acquires each key that is free; `taken` says which. The `token` is drawn when all keys are held: it is above every
     * token drawn before under one of them. `(array of keys)`
     */
    acquireEach: `
      SELECT taken, CASE WHEN strpos(taken, '${DONE}') > 0 THEN ${token} END AS token, ${NOW} AS now, ${READ_ONLY}, ${SERVER}
      FROM (SELECT string_agg(CASE WHEN pg_try_advisory_lock(key) THEN '${DONE}' ELSE '0' END, '') AS taken
        FROM ${KEYS}) AS attempt`,
    /** Releases a key; `freed` says whether it was held. `(key)` */
    release: `SELECT pg_advisory_unlock(key)::text AS freed, ${notify} AS notified, ${READ_ONLY} FROM ${KEY}`,
    /**
     * Releases several keys; `freed` says which were held. Mostly no client waits: one key tells, where a test of each key
     * is a third of the statement. `(array of keys)`
     */
    releaseEach: `
      SELECT freed, ${notifyEach} AS notified, ${READ_ONLY}
      FROM (SELECT string_agg(CASE WHEN pg_advisory_unlock(key) THEN '${DONE}' ELSE '0' END, '') AS freed
        FROM ${KEYS}) AS release`,
    /**
     * Advances the sequence of tokens, at least to the clock: tokens that a crash or a failover has lost are not drawn
     * again. One session at a time, and by more than other sessions draw meanwhile.
     */
    advance: `
      WITH settings AS MATERIALIZED (
        SELECT ${DURABLE} AS durable, pg_advisory_xact_lock(${keyOf("tokens", literal(namespace))})::text AS alone)
      SELECT setval(${sequence}, greatest(coalesce(pg_sequence_last_value(${sequence}), 0) + ${TOKEN_STRIDE},
        ${microseconds("clock_timestamp()")}))::text AS token, ${READ_ONLY}
      FROM settings`,
    /** Whether this session holds a key. `(key)` */
    verify: `
      SELECT EXISTS (SELECT FROM pg_locks AS l, ${KEY}
        WHERE l.pid = pg_backend_pid() AND ${heldBy("k.key")})::text AS held, ${READ_ONLY}`,
    /** The names that any session holds, as rows. `(JSON array of names)` */
    holders: `
      SELECT DISTINCT ON (wanted.name, l.pid) wanted.name, '0' AS token,
        coalesce(nullif(a.application_name, ''), 'unknown') AS holder, NULL AS process, NULL AS until,
        ${NOW} AS created, ${NOW} AS updated, NULL AS metadata, l.pid::text AS session, ${NOW} AS now
      FROM (SELECT name, ${sessionKeyOf(namespace, "name")} AS key
        FROM json_array_elements_text($1::text::json) AS name) AS wanted
      JOIN pg_locks AS l ON ${heldBy("wanted.key")}
      LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
      ORDER BY wanted.name, l.pid`,
  };
}
