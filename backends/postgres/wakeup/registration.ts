/**
 * How a waiter for a session lock registers: by shared advisory locks on the waiting key of its name and on the key of
 * all waiters, which a batch of releases looks at.
 *
 * @module
 */
import { waitingForKey } from "../keys.ts";
import { sessionKeyOf } from "../session/session_keys.ts";

/**
 * SQL that registers a waiter; `registered` is NULL while a release of the name is being committed, which has its key
 * exclusively. The key of all waiters is waited for: batches of releases may have it most of the time. `(name)`
 */
function register(key: string, any: string): string {
  return `
    SELECT key::text, any_key::text, CASE WHEN pg_try_advisory_lock_shared(key) THEN pg_advisory_lock_shared(any_key)::text END AS registered
    FROM (SELECT ${key} AS key, ${any} AS any_key OFFSET 0) AS keys`;
}

/** Ends a registration. `(key, any_key)` */
export const UNREGISTER = `
    SELECT pg_advisory_unlock_shared($1::text::bigint)::text AS key, pg_advisory_unlock_shared($2::text::bigint)::text AS any_key`;

/** SQL for the key that every waiter for a session lock registers under: that of the empty name, which no lock has. */
export function waitingForAny(namespace: string): string {
  return waitingForKey(sessionKeyOf(namespace, "''"));
}

/** Registers a waiter for a session lock. `(name)` */
export function registrationForSessions(namespace: string): string {
  return register(waitingForKey(sessionKeyOf(namespace, "$1::text")), waitingForAny(namespace));
}
