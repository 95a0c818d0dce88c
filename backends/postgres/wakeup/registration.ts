/**
 * How those who wait make themselves known to those who release: by shared advisory locks on waiting keys.
 *
 * @module
 */
import { placeOf, PLACES, waitingForAnyRow, waitingForKey, waitingForRow } from "../keys.ts";
import { sessionKeyOf } from "../session/session_keys.ts";

/** The statements of those who wait. */
export interface Registration {
  /**
   * Makes a wait known; `announced` says whether it is, `key` under what its release will be told, and `place` for
   * whom, where not for everybody; `any` is under what the release of many names is told. A release that is just being
   * committed keeps the keys for itself. `(name)`
   */
  readonly announce: string;
  /** Takes that back. `(key, place)` */
  readonly leave: string;
}

/** SQL that takes shared locks on all the keys or on none. */
function takeAll([key, ...others]: string[], taken: string[]): string {
  if (key === undefined) return "true";
  const undone = taken.map((key) => `pg_advisory_unlock_shared(${key})`).join(" AND ");
  return `CASE WHEN pg_try_advisory_lock_shared(${key}) THEN ${
    takeAll(others, [...taken, key])
  } ELSE NOT (${undone}) END`;
}

/**
 * SQL that takes shared locks on the key of all waits and on others, or on none. The first is waited for: somebody may
 * have it most of the time, where crowds release all the time, and each only until its commit.
 */
function takeWith(any: string, ...keys: string[]): string {
  return `CASE WHEN pg_advisory_lock_shared(${any})::text = '' THEN ${takeAll(keys, [any])} END`;
}

const GIVEN = "$1::text::bigint";
const LEAVE = `SELECT pg_advisory_unlock_shared(${GIVEN})::text AS gone`;

/** For rows: also under the key of all waits, and at a place, one where nobody is if there is one. */
export function registrationForRows(namespace: string): Registration {
  const any = waitingForAnyRow(namespace);
  const place = placeOf("key", "place");
  return {
    announce: `
      SELECT key::text, place::text, (${any})::text AS any, (${takeWith(any, "key", place)})::text AS announced
      FROM (
        SELECT key, coalesce(
          (SELECT place FROM ${PLACES} WHERE pg_try_advisory_xact_lock(${place}) LIMIT 1),
          (SELECT place FROM ${PLACES} ORDER BY random() LIMIT 1)) AS place
        FROM (SELECT ${waitingForRow(namespace, "$1::text")} AS key OFFSET 0) AS k OFFSET 0) AS own`,
    leave: `${LEAVE}, pg_advisory_unlock_shared(${placeOf(GIVEN, "$2::text::bigint")})::text AS gone_from_place,
      pg_advisory_unlock_shared(${any})::text AS gone_altogether`,
  };
}

/** SQL for the key of everybody who waits for a session lock, whichever: that of a name that no lock can have. */
export function waitingForAny(namespace: string): string {
  return waitingForKey(sessionKeyOf(namespace, "''"));
}

/** For session locks: also under the key by which those who release a crowd find out whether anybody waits at all. */
export function registrationForSessions(namespace: string): Registration {
  const any = waitingForAny(namespace);
  return {
    announce: `
      SELECT key::text, NULL AS place, (${any})::text AS any, (${takeWith(any, "key")})::text AS announced
      FROM (SELECT ${waitingForKey(sessionKeyOf(namespace, "$1::text"))} AS key) AS k`,
    leave: `${LEAVE}, pg_advisory_unlock_shared(${any})::text AS gone_altogether, $2::text AS place`,
  };
}
