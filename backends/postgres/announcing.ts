/**
 * How those who wait make themselves known to those who release: by shared advisory locks on waiting keys.
 *
 * @module
 */
import { waitingForKey, waitingForRow } from "./keys.ts";
import { sessionKeyOf } from "./session_keys.ts";

/** The statements of those who wait. */
export interface Announcing {
  /** Makes a wait known; `announced` says whether it is, `key` under what its release will be told. `(name)` */
  readonly announce: string;
  /** Takes that back. `(key)` */
  readonly leave: string;
}

const LEAVE = "SELECT pg_advisory_unlock_shared($1::text::bigint)::text AS gone";

/** For rows. */
export function announcingForRows(namespace: string): Announcing {
  return {
    announce: `
      SELECT key::text, pg_try_advisory_lock_shared(key)::text AS announced
      FROM (SELECT ${waitingForRow(namespace, "$1::text")} AS key) AS k`,
    leave: LEAVE,
  };
}

/** SQL for the key of everybody who waits for a session lock, whichever: that of a name that no lock can have. */
export function waitingForAny(namespace: string): string {
  return waitingForKey(sessionKeyOf(namespace, "''"));
}

/** For session locks: also under the key by which those who release a crowd find out whether anybody waits at all. */
export function announcingForSessions(namespace: string): Announcing {
  const any = waitingForAny(namespace);
  return {
    announce: `
      SELECT key::text, CASE
          WHEN NOT pg_try_advisory_lock_shared(${any}) THEN false
          WHEN pg_try_advisory_lock_shared(key) THEN true
          ELSE NOT pg_advisory_unlock_shared(${any})
        END::text AS announced
      FROM (SELECT ${waitingForKey(sessionKeyOf(namespace, "$1::text"))} AS key) AS k`,
    leave: `${LEAVE}, pg_advisory_unlock_shared(${any})::text AS gone_altogether`,
  };
}
