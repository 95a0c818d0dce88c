/**
 * Which run of which server a liveness lock was granted by. Advisory locks are in the server's memory, while rows outlive
 * a restart and a failover: a free liveness lock proves that its holder is gone only on the server that granted it.
 * Elsewhere the holder may not have heard of the change yet.
 *
 * The key of a liveness lock says so itself: 24 bits for the incarnation, 8 for the session timeout, 32 at random.
 *
 * @module
 */
import { quoted } from "../schema.ts";
import { microseconds, READ_ONLY, SERVER } from "./fragments.ts";

/**
 * SQL for the present incarnation. The start of the server has microseconds, and differs between a primary and its
 * standbys. After a crash of one of its processes the server clears its memory without a new start; then, from PostgreSQL
 * 15 on, its statistics begin again.
 */
const INCARNATION = `((${microseconds("pg_postmaster_start_time()")} + CASE
    WHEN current_setting('server_version_num')::int >= 150000
    THEN coalesce(${microseconds("pg_stat_get_bgwriter_stat_reset_time()")}, 0) ELSE 0 END) & 16777215)`;

/** The session timeout in a key, in steps of a fourteenth of an octave: from 0.3 to 86,400 s takes 254 of 255. */
const SHORTEST_TIMEOUT = 0.3;
const STEPS = 14;

/** SQL for whether another server, or an earlier run of this one, granted a liveness lock. */
function isForeign(key: string): string {
  return `((${key} >> 40) & 16777215) <> ${INCARNATION}`;
}

/**
 * SQL for a row that is held: not released, not expired, and its session not ended. The liveness lock of a row can be
 * acquired exactly when the connection of its holder has ended, on the server that granted it; it is released with this
 * transaction. A row that another server granted counts as a lease.
 */
export function live(row: string): string {
  return `(${current(row)} AND ${isAlive(`${row}.liveness`)})`;
}

/** SQL for whether the session that carries a liveness lock may be there; true without a key. */
export function isAlive(key: string): string {
  return `CASE WHEN ${key} IS NULL THEN true
    WHEN pg_try_advisory_xact_lock_shared(${key}) THEN ${isForeign(key)} ELSE true END`;
}

/** SQL for a row with a holder, whose lease may be extended: the holder's session exists on this server. */
export const RENEWABLE = `(${current("l")} AND l.locked_by <> '' AND CASE WHEN l.liveness IS NULL THEN true
    ELSE NOT pg_try_advisory_xact_lock_shared(l.liveness) END)`;

/** SQL for a row that was neither released nor has expired, whatever became of its session. */
export function current(row: string): string {
  return `${row}.owner IS NOT NULL AND (${row}.locked_until IS NULL OR ${row}.locked_until > clock_timestamp())`;
}

/** Acquires a liveness lock of the present incarnation, unless another session has that key. `(32 random bits)` */
export function acquireLivenessLock(timeout: number): string {
  const step = Math.ceil(Math.log2(timeout / SHORTEST_TIMEOUT) * STEPS);
  return `
    SELECT key::text, pg_try_advisory_lock(key)::text AS taken, ${READ_ONLY}, ${SERVER}
    FROM (SELECT ((${INCARNATION} << 40) | (${step}::bigint << 32) | $1::text::bigint) AS key OFFSET 0) AS made`;
}

/**
 * Shortens the leases of hybrid locks that another incarnation granted to the timeout of their sessions: by then their
 * holders have given up. Every new session runs it, so it counts from the first one after a restart or a failover. A row
 * that a transaction has locked keeps its lease.
 */
export function shortenForeignLeases(table: string): string {
  const timeout = `${SHORTEST_TIMEOUT} * power(2, ((l.liveness >> 32) & 255) / ${STEPS}.0)`;
  const lapse = `clock_timestamp() + interval '1 second' * (${timeout})`;
  const orphaned = `l.listed AND l.owner IS NOT NULL AND CASE WHEN l.liveness IS NULL THEN false
        WHEN ${isForeign("l.liveness")} THEN pg_try_advisory_xact_lock_shared(l.liveness) ELSE false END
      AND coalesce(l.locked_until > ${lapse}, true)`;
  return `
    WITH orphaned AS MATERIALIZED (
      SELECT l.name FROM ${quoted(table)} AS l WHERE ${orphaned} ORDER BY l.name FOR UPDATE OF l SKIP LOCKED)
    UPDATE ${quoted(table)} AS l SET locked_until = ${lapse}
    FROM orphaned WHERE l.name = orphaned.name AND ${orphaned}`;
}
