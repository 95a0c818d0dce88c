/**
 * Keys of advisory locks, and the SQL that notifies waiters. A key is the first 64 bits of SHA-256 of a namespace and a
 * name. For rows the server computes it; `session_keys.ts` computes the same in this process. Among a million names two
 * keys collide with a probability of 3 in 10^8.
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

/** The channel that releases are notified on; the payload is a waiting key. */
export const CHANNEL = "lockmgr";

/**
 * SQL for the key that the process shares which listens on a channel. Only one server has to agree on it: its own hash is
 * enough.
 */
export function listeningKey(channel: string): string {
  return `hashtextextended(${channel}, 0)`;
}

/** SQL for the key that waiters for a session lock register under: the neighbour of its key needs no second digest. */
export function waitingForKey(key: string): string {
  return `(${key} # 1)`;
}

/**
 * SQL that notifies the waiters of a released name, if there are any: they keep a shared advisory lock on its waiting
 * key, so an exclusive one can be acquired exactly when there is none. NOTIFY locks the whole database at commit: with
 * one for every release 16 clients made 7,050 transactions a second instead of 25,300.
 */
export function notifyIfAwaited(key: string): string {
  return `CASE WHEN pg_try_advisory_xact_lock(${key}) THEN NULL ELSE pg_notify('${CHANNEL}', (${key})::text)::text END`;
}

/** More released names than this notify all waiters at once: each name that is looked at takes a lock of the server. */
const MAX_NOTIFIED_NAMES = 200;

/**
 * SQL that notifies the waiters of `count` released names. One key tells whether there is any waiter at all: the server
 * has room for 6,400 locks by default, for all transactions together.
 *
 * @param any SQL for the key that every waiter registers under.
 * @param each A query that notifies the waiters of each name.
 */
export function notifyOfMany(any: string, count: string, each: string): string {
  return `CASE WHEN pg_try_advisory_xact_lock(${any}) THEN NULL
      WHEN ${count} > ${MAX_NOTIFIED_NAMES} THEN pg_notify('${CHANNEL}', (${any})::text)::text
      ELSE (${each})::text END`;
}
