/**
 * Which run of which server a liveness lock was granted by. GET_LOCK is in the server's memory, while rows outlive a
 * restart and a failover: a free liveness lock proves that its holder is gone only on the server that granted it.
 * Elsewhere the holder may not have heard of the change yet. The key of the lock says so itself:
 * `lockmgr:<session timeout in s>:<incarnation>:<random>`.
 *
 * @module
 */
import { randomId } from "../../../core/util/runtime.ts";
import { bytes, EVERY_ROW, list, quoted, text } from "../connection/inline_parameters.ts";
import { CLOCK, UNRELEASED } from "./rows.ts";

/**
 * SQL for the present incarnation: the server's id and the second of its start, which begin UUID_SHORT, and the random
 * part of UUID, which each start chooses. It also changes when the clock is set back, and after 16 million calls of
 * UUID_SHORT; then the name of a killed holder is free when its lease expires.
 */
export const INCARNATION = "CONCAT(HEX(UUID_SHORT() >> 24), SUBSTR(UUID(), 20, 4))";

/** The session timeout (s) of keys that do not say theirs, as earlier versions made them. */
const UNKNOWN_TIMEOUT = 15;

/** SQL for a part of the key in column `session`, counted from 1. */
function partOf(session: string, part: number): string {
  return `SUBSTRING_INDEX(SUBSTRING_INDEX(${session}, ':', ${part}), ':', -1)`;
}

/** Makes the key of a liveness lock. */
export function livenessKey(incarnation: string, timeout: number): string {
  return `lockmgr:${Math.ceil(timeout)}:${incarnation}:${randomId().replaceAll("-", "")}`; // 64 characters at most
}

/** The condition that another server, or an earlier run of this one, granted the liveness lock of a row. */
function isForeign(session: string): string {
  return `${partOf(session, 3)} <> ${INCARNATION}`;
}

/** The condition that no session holds the liveness lock of a row on this server. */
export function isUnused(session: string): string {
  return `(${session} IS NOT NULL AND IS_USED_LOCK(${session}) IS NULL)`;
}

/** The condition that the session of a row has ended, on the server that granted its liveness lock. */
export function isDead(session: string): string {
  return `(${isUnused(session)} AND NOT ${isForeign(session)})`;
}

/** The time at which the holder of a key that this server did not grant has given up. */
const LAPSE = `${CLOCK} + 1000000 *
    IF(session LIKE 'lockmgr:%:%:%', CAST(${partOf("session", 2)} AS UNSIGNED), ${UNKNOWN_TIMEOUT})`;

/** The condition for a hybrid lock that another incarnation granted for longer than until {@linkcode LAPSE}. */
const ORPHANED = `${UNRELEASED} AND session IS NOT NULL AND ${isForeign("session")} AND ${isUnused("session")}
    AND IFNULL(locked_until > ${LAPSE}, TRUE)`;

/** Selects the names of such locks. To look without locks spares the rows that transactions keep. */
export function selectOrphaned(table: string): string {
  return `SELECT name FROM ${quoted(table)} FORCE INDEX (listed)
    WHERE listed IN (1, 2) AND ${ORPHANED} ORDER BY name ${EVERY_ROW}`;
}

/**
 * Shortens the leases of such locks to the timeout of their sessions: by then their holders have given up. Every new
 * session does it, so the time counts from the first one after a restart or a failover.
 */
export function shortenOrphaned(table: string, names: readonly string[]): string {
  return `UPDATE ${quoted(table)} FORCE INDEX (PRIMARY) SET locked_until = ${LAPSE}
    WHERE name IN (${list(names)}) AND ${ORPHANED}`;
}

/**
 * Writes the row of a session, which a name cannot have and which counts as released: a commit that waits for a replica
 * where commits do.
 */
export function confirm(table: string, key: string): string {
  return `INSERT INTO ${quoted(table)} (name, owner, token, locked_by, locked_until, created_at, updated_at, listed)
    VALUES (${bytes(`\0${key}`)}, ${bytes("")}, 0, ${text("")}, 0, ${CLOCK}, ${CLOCK}, 0)
    ON DUPLICATE KEY UPDATE updated_at = ${CLOCK}`;
}
