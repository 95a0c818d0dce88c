/**
 * How those who wait make themselves known to those who release: by shared advisory locks on waiting keys.
 *
 * @module
 */
import { placeOf, PLACES, waitingForKey, waitingForRow } from "./keys.ts";
import { sessionKeyOf } from "./session_keys.ts";

/** The statements of those who wait. */
export interface Announcing {
  /**
   * Makes a wait known; `announced` says whether it is, `key` under what its release will be told, and `place` for
   * whom. A release that is just being committed keeps the keys for itself. `(name)`
   */
  readonly announce: string;
  /** Takes that back. `(key, place)` */
  readonly leave: string;
}

/** Writes the statements. The place is one where nobody is, or any. */
function announcing(key: string, further: readonly string[] = []): Announcing {
  const [first, second, ...rest] = [...further, "key", placeOf("key", "place")];
  const take = (one: string) => `pg_try_advisory_lock_shared(${one})`;
  const giveBack = (one: string) => `pg_advisory_unlock_shared(${one})`;
  const given = "$1::text::bigint";
  return {
    announce: `
      SELECT key::text, place::text, CASE
          WHEN NOT ${take(first)} THEN false
          WHEN NOT ${take(second)} THEN NOT ${giveBack(first)}
          ${rest.map((one) => `WHEN NOT ${take(one)} THEN NOT (${giveBack(first)} AND ${giveBack(second)})`).join("")}
          ELSE true
        END::text AS announced
      FROM (
        SELECT key, coalesce(
          (SELECT place FROM ${PLACES} WHERE pg_try_advisory_xact_lock(${placeOf("key", "place")}) LIMIT 1),
          (SELECT place FROM ${PLACES} ORDER BY random() LIMIT 1)) AS place
        FROM (SELECT ${key} AS key OFFSET 0) AS k OFFSET 0) AS own`,
    leave: `SELECT ${
      [...further, given, placeOf(given, "$2::text::bigint")].map((one, index) => `${giveBack(one)} AS gone${index}`)
        .join(", ")
    }`,
  };
}

/** For rows. */
export function announcingForRows(namespace: string): Announcing {
  return announcing(waitingForRow(namespace, "$1::text"));
}

/** SQL for the key of everybody who waits for a session lock, whichever: that of a name that no lock can have. */
export function waitingForAny(namespace: string): string {
  return waitingForKey(sessionKeyOf(namespace, "''"));
}

/** For session locks: also under the key by which those who release a crowd find out whether anybody waits at all. */
export function announcingForSessions(namespace: string): Announcing {
  return announcing(waitingForKey(sessionKeyOf(namespace, "$1::text")), [waitingForAny(namespace)]);
}
