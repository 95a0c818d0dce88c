/**
 * The SQL of session locks. A name's key is an advisory lock; its token is drawn in the same statement, under the lock.
 *
 * @module
 */
import { keyOf, literal, notifyIfAwaited } from "./keys.ts";
import { namespaceOf, quoted, sequenceOf } from "./schema.ts";

/** The statements for the session locks of one table's name. */
export interface SessionStatements {
  /** Takes a name; `token` is NULL when it is held. `(name)` */
  readonly acquire: string;
  /** Takes several names, each by itself; `token` is NULL for those that are held. `(JSON array)` */
  readonly acquireEach: string;
  /** The same, shared. `(name)` */
  readonly acquireShared: string;
  /** Waits in the server's queue until the name is had, without a token. `(name)` */
  readonly queue: string;
  /** Makes a name that is had for one alone a shared one, with a token. `(name)` */
  readonly share: string;
  /** A further token for a name that is shared in this process. */
  readonly token: string;
  /** Frees a name; `freed` says whether it was held. `(name)` */
  readonly release: string;
  /** The same of several. `(JSON array)` */
  readonly releaseEach: string;
  /** The same, shared. `(name)` */
  readonly releaseShared: string;
  /** Whether this session holds a name. `(name)` */
  readonly verify: string;
  /** Which of the names any session holds, in the shape of rows. `(JSON array)` */
  readonly holders: string;
}

const NOW = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text";

/** Joins `pg_locks` to a key: a 64-bit key is two halves there. */
function heldBy(key: string): string {
  return `l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = (${key} >> 32) & 4294967295 AND l.objid::bigint = ${key} & 4294967295`;
}

/** Writes the statements for the namespace of a table. */
export function sessionStatementsFor(table: string): SessionStatements {
  const namespace = namespaceOf(table);
  const key = keyOf(`session:${namespace}`, "$1::text");
  const token = `nextval(${literal(quoted(sequenceOf(table)))}::regclass)::text`;
  const acquire = (lock: string) =>
    `SELECT CASE WHEN ${lock}(key) THEN ${token} END AS token, ${NOW} AS now FROM (SELECT ${key} AS key) AS k`;
  const release = (unlock: string) => `
    SELECT ${unlock}(key)::text AS freed, ${notifyIfAwaited(namespace, "$1::text")} AS told
    FROM (SELECT ${key} AS key) AS k`;
  return {
    acquire: acquire("pg_try_advisory_lock"),
    acquireEach: `
      SELECT name, CASE WHEN pg_try_advisory_lock(${keyOf(`session:${namespace}`, "name")}) THEN ${token} END AS token,
        ${NOW} AS now
      FROM json_array_elements_text($1::text::json) AS name`,
    acquireShared: acquire("pg_try_advisory_lock_shared"),
    queue: `SELECT pg_advisory_lock(${key})::text AS had`,
    // the session does not keep itself waiting, and nobody else gets in between
    share: `
      SELECT pg_try_advisory_lock_shared(key) AS shared, pg_advisory_unlock(key) AS let_go, ${token} AS token, ${NOW} AS now
      FROM (SELECT ${key} AS key) AS k`,
    token: `SELECT ${token} AS token, ${NOW} AS now`,
    release: release("pg_advisory_unlock"),
    releaseEach: `
      SELECT name, pg_advisory_unlock(${keyOf(`session:${namespace}`, "name")})::text AS freed,
        ${notifyIfAwaited(namespace, "name")} AS told
      FROM json_array_elements_text($1::text::json) AS name`,
    releaseShared: release("pg_advisory_unlock_shared"),
    verify: `
      SELECT EXISTS (SELECT FROM pg_locks AS l, (SELECT ${key} AS key) AS k
        WHERE l.pid = pg_backend_pid() AND ${heldBy("k.key")})::text AS held`,
    holders: `
      SELECT DISTINCT ON (wish.name, l.pid) wish.name, '0' AS token,
        coalesce(nullif(a.application_name, ''), 'unknown') AS holder, NULL AS process, NULL AS until,
        ${NOW} AS created, ${NOW} AS updated, NULL AS metadata, l.pid::text AS session, ${NOW} AS now
      FROM (SELECT name, ${keyOf(`session:${namespace}`, "name")} AS key
        FROM json_array_elements_text($1::text::json) AS name) AS wish
      JOIN pg_locks AS l ON ${heldBy("wish.key")}
      LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
      ORDER BY wish.name, l.pid`,
  };
}
