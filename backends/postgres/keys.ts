/**
 * Keys of advisory locks: the first 64 bits of SHA-256 of a namespace and a name. For rows the server computes them, so
 * that every program on it agrees; `session_keys.ts` has the same in this process. 64 bits of a million names collide
 * with a probability of 3 in 10^8.
 *
 * @module
 */

/** SQL text between quotes. */
export function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/** SQL for the key of a name in a namespace; `name` is an SQL expression. */
export function keyOf(namespace: string, name: string): string {
  const digest = `encode(sha256(convert_to(${literal(`lockmgr:${namespace}:`)} || ${name}, 'UTF8')), 'hex')`;
  return `('x' || left(${digest}, 16))::bit(64)::bigint`;
}

/** The channel on which releases are told. */
export const CHANNEL = "lockmgr";

/**
 * SQL for the key under which those are known who wait for a row. Only this server needs to agree on it, and names that
 * collide wake each other in vain: its own hash will do, and costs each release in a crowd 1.6 µs less than a digest.
 */
export function waitingForRow(namespace: string, name: string): string {
  return `hashtextextended(${literal(`lockmgr:wait:${namespace}:`)} || ${name}, 0)`;
}

/** SQL for the key of everybody who waits for a row of a table, whichever: that of a name that no lock can have. */
export function waitingForAnyRow(namespace: string): string {
  return waitingForRow(namespace, "''");
}

/** SQL for the key under which those are known who wait for a session lock: its neighbour, which costs no second digest. */
export function waitingForKey(key: string): string {
  return `(${key} # 1)`;
}

/**
 * SQL that tells of a release if anybody waits: waiters keep a shared advisory lock on the waiting key, so that
 * an exclusive one can be had exactly when there is none. NOTIFY takes a lock of the whole database at commit: with
 * one for every release 16 clients came to 7,050 transactions a second instead of 25,300.
 */
export function tellIfAwaited(key: string): string {
  return `CASE WHEN pg_try_advisory_xact_lock(${key}) THEN NULL ELSE pg_notify('${CHANNEL}', (${key})::text)::text END`;
}

/** SQL for the places of those who wait for a row: mostly one process in each, more where there are more processes. */
export const PLACES = "generate_series(1, 16) AS place";

/** SQL for the key of a place beside a waiting key. */
export function placeOf(key: string, place: string): string {
  return `(${key} # (${place} * 2)::bigint)`;
}

/** Whose turn it is: two, since one may be the releaser itself, which holds back for others. */
const CALLED = `SELECT place FROM ${PLACES} WHERE NOT pg_try_advisory_xact_lock(${
  placeOf("key", "place")
}) ORDER BY random() LIMIT 2`;

/**
 * The same of a row, and whose turn it is: eight processes that all try at once take the processors from the one that
 * succeeds, since a statement that takes a row and fails costs 2.7 round trips.
 */
export function notifyIfAwaited(namespace: string, name: string): string {
  const awaited = waitingForRow(namespace, name);
  return `CASE WHEN pg_try_advisory_xact_lock(${awaited}) THEN NULL ELSE (
      SELECT pg_notify('${CHANNEL}', concat_ws(' ', key, (SELECT string_agg(place::text, ' ') FROM (${CALLED}) AS called)))
      FROM (SELECT ${awaited} AS key OFFSET 0) AS awaited)::text END`;
}

/** Beyond so many released names all waiters are notified at once: each name that is asked for takes a lock of the server. */
const MOST_NOTIFIED = 200;

/**
 * SQL that notifies the waiters of `count` released names. One key tells whether anybody waits at all, instead of one
 * for each name: the server's table of locks has room for 6,400 by default, for all transactions together.
 *
 * @param any SQL for the key of everybody who waits, whichever name they wait for.
 * @param each A query that notifies the waiters of each name.
 */
export function notifyOfMany(any: string, count: string, each: string): string {
  return `CASE WHEN pg_try_advisory_xact_lock(${any}) THEN NULL
      WHEN ${count} > ${MOST_NOTIFIED} THEN pg_notify('${CHANNEL}', (${any})::text)::text
      ELSE (${each})::text END`;
}

/** The same for the rows of a CTE, each with the name that was released. */
export function notifyOfRows(namespace: string, released: string): string {
  const each = `SELECT count(${notifyIfAwaited(namespace, "name")}) FROM ${released}`;
  return notifyOfMany(waitingForAnyRow(namespace), `(SELECT count(*) FROM ${released})`, each);
}
