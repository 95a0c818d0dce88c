/**
 * The SQL that takes locks.
 *
 * @module
 */
import type { AcquireRequest } from "../../../core/backend.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import { READ_ONLY } from "../connection/server.ts";
import { bytes, integer, list, text } from "../connection/sql.ts";

/** The server's clock at the start of the statement, whatever the session's time zone: early, which errs on the safe side. */
export const CLOCK = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/** The answer of what acquires and of a renewal: done, but the row has to be read to know its times. */
export const READ_THE_ROW = 1n;
/** The answer of {@linkcode Taking.retake}: the row is another's, and live. */
export const HELD = 2n;
/** The answer where nothing was done because the session that was to vouch for the rows has ended at the server. */
export const UNVOUCHED = 3n;
/** The answer where nothing was done because the server is read-only, for users who may write to it nevertheless. */
export const REFUSED = 4n;

/** The statements that take locks in one table. */
export interface Taking {
  /**
   * Takes what is free, in the order given, which has to be sorted. For one request the answer is its token, 0 when
   * the name is held, {@linkcode READ_THE_ROW}, or {@linkcode UNVOUCHED}. `guarded` spares losers the row lock; it must not be used where
   * subqueries take locks (REPEATABLE READ), or two takers may get in each other's way. A request that is repeated after
   * a lost answer finds its own row.
   */
  acquire(requests: readonly AcquireRequest[], guarded: boolean, liveness?: LivenessLock): string;
  /**
   * Takes one whose row is there: no words for a new row, so that it costs the server a quarter less than
   * {@linkcode Taking.acquire}. The answer is its token, {@linkcode HELD}, {@linkcode READ_THE_ROW},
   * {@linkcode UNVOUCHED}, or 0 when there is no row. A row of the same owner is taken
   * again if another session than the present one vouches for it.
   */
  retake(request: AcquireRequest, liveness?: LivenessLock): string;
  /**
   * Takes several whose rows are there and free. When as many rows are affected all were taken, and the answer is the token
   * of all; else the rows have to be read. Two thirds of the work of {@linkcode Taking.acquire} for each.
   */
  retakeAll(requests: readonly AcquireRequest[], liveness?: LivenessLock): string;
}

/** The table for what looks for names: not even to weigh the other index saves many names 3 % of the time. */
export function byName(target: string): string {
  return `${target} IGNORE INDEX (listed)`;
}

/** The table for what changes many names: of a small one all rows would be read otherwise, and locked meanwhile. */
export function byNames(target: string): string {
  return `${target} FORCE INDEX (PRIMARY)`;
}

/** A name that was free for less than this (µs) is taken often: its place in the index of what is held is kept. */
const OFTEN = 10_000_000;

/** The place of a row that changes hands in that index, in the assignments before the one of `updated_at`. */
function place(now: string): string {
  return `1 + (updated_at > ${now} - ${OFTEN})`;
}

/** One row of wishes. */
function wish(request: AcquireRequest): string {
  const { name, owner, duration, lockedBy, lockProcess, metadata } = request;
  return `SELECT ${bytes(name)} AS new_name, ${bytes(owner)} AS new_owner, ${integer(duration)} AS new_duration,
    ${text(lockedBy)} AS new_by, ${integer(lockProcess)} AS new_process, ${text(metadata)} AS new_metadata,
    ${CLOCK} AS new_now`;
}

/**
 * A value of each row in SQL: once when all have the same, else by the place of the row's name among `names`. To go
 * through hundreds of names costs 0.3 µs, and a search in order no less for its longer text.
 */
function ofEach(names: string, values: readonly string[]): string {
  return values.every((value) => value === values[0]) ? values[0] : `ELT(FIELD(name, ${names}), ${values.join(", ")})`;
}

/** The same of numbers, which ELT makes texts of. */
function numberOfEach(names: string, numbers: readonly (number | null)[]): string {
  return `CAST(${ofEach(names, numbers.map(integer))} AS SIGNED)`;
}

/** The id of its connection in SQL. */
function connectionOf(liveness: LivenessLock | undefined): string {
  return liveness ? liveness.session.id : "NULL";
}

/** The name of the liveness lock in SQL. */
function nameOf(liveness: LivenessLock | undefined): string {
  return liveness ? bytes(liveness.key) : "NULL";
}

/** Whether the session that is to vouch for a row is still there: its end may not have reached this process yet. */
export function isVouched(liveness: LivenessLock): string {
  return `IFNULL(IS_USED_LOCK(${bytes(liveness.key)}), 0) = ${liveness.session.id}`;
}

/** The same as a condition; where it fails the statement answers {@linkcode UNVOUCHED}, which is not "held". */
function vouchedFor(liveness: LivenessLock | undefined): string {
  return liveness ? `IF(${isVouched(liveness)}, TRUE, LAST_INSERT_ID(${UNVOUCHED}) = 0)` : "TRUE";
}

/** Whether the server is the primary: a replica takes writes of users with SUPER or its like, which the primary never sees. */
const IS_PRIMARY = `IF(${READ_ONLY}, LAST_INSERT_ID(${REFUSED}) = 0, TRUE)`;

/**
 * Whether the row has just changed hands, in the assignments that follow the one of `owner`: they run from left to
 * right. A row that was this very request's already (it was repeated after a lost answer) has its session and time.
 */
function fresh(liveness: LivenessLock | undefined): string {
  return `owner = new_owner AND (locked_until <= new_now OR NOT (session <=> ${nameOf(liveness)}))`;
}

/**
 * Writes them for a table.
 *
 * @param free When a row may be taken. @param live When it may not.
 * @param asks Whether the statements ask if the server is read-only.
 */
export function takingFor(
  target: string,
  free: (now: string) => string,
  live: (now: string, row?: string) => string,
  asks: boolean,
): Taking {
  const standing = (liveness: LivenessLock | undefined) =>
    asks ? `IF(${IS_PRIMARY}, ${vouchedFor(liveness)}, FALSE)` : vouchedFor(liveness);
  const spared = `AND NOT EXISTS (SELECT 1 FROM ${target} AS held WHERE held.name = new_name
        AND held.owner <> new_owner AND ${live("new_now", "held.")})`;

  return {
    acquire: (requests, guarded, liveness) => `
      INSERT INTO ${target} (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at, metadata,
        session, connection_id)
      SELECT new_name, new_owner, new_now, new_by, new_process, new_now + new_duration, new_now,
        new_now + 0 * LAST_INSERT_ID(new_now), new_metadata,
        ${nameOf(liveness)}, ${connectionOf(liveness)}
      FROM (${requests.map(wish).join(" UNION ALL ")}) AS wish
      WHERE ${standing(liveness)} ${guarded ? spared : ""}
      ON DUPLICATE KEY UPDATE
        owner = IF(${free("new_now")}, new_owner, owner),
        token = IF(${fresh(liveness)}, GREATEST(token + 1, new_now), token),
        locked_by = IF(${fresh(liveness)}, new_by, locked_by),
        lock_process = IF(${fresh(liveness)}, new_process, lock_process),
        created_at = IF(${fresh(liveness)}, new_now, created_at),
        metadata = IF(${fresh(liveness)}, new_metadata, metadata),
        listed = IF(${fresh(liveness)}, ${place("new_now")}, listed),
        updated_at = IF(${fresh(liveness)}, new_now + 0 * LAST_INSERT_ID(IF(token = new_now, token, ${READ_THE_ROW})),
          updated_at + 0 * LAST_INSERT_ID(IF(owner = new_owner, ${READ_THE_ROW}, 0))),
        locked_until = IF(${fresh(liveness)}, new_now + new_duration, locked_until),
        connection_id = IF(owner = new_owner, ${connectionOf(liveness)}, connection_id),
        session = IF(owner = new_owner, ${nameOf(liveness)}, session)`,

    // from left to right: what follows an assignment reads what it assigned, and the clock is computed less often
    retake({ name, owner, duration, lockedBy, lockProcess, metadata }, liveness) {
      const connection = connectionOf(liveness);
      return `
      UPDATE ${byName(target)} SET
        owner = ${bytes(owner)}, created_at = ${CLOCK}, token = GREATEST(token + 1, created_at),
        locked_by = ${text(lockedBy)}, lock_process = ${integer(lockProcess)},
        listed = ${place("created_at")},
        updated_at = created_at + 0 * LAST_INSERT_ID(IF(token = created_at, token, ${READ_THE_ROW})),
        locked_until = created_at + ${integer(duration)},
        metadata = ${text(metadata)}, session = ${nameOf(liveness)}, connection_id = ${connection}
      WHERE name = ${bytes(name)} AND ${standing(liveness)}
        AND (${free(CLOCK)} OR (owner = ${bytes(owner)} AND NOT (session <=> ${nameOf(liveness)}))
          OR LAST_INSERT_ID(IF(owner = ${bytes(owner)}, ${READ_THE_ROW}, ${HELD})) = 0)`;
    },

    retakeAll(requests, liveness) {
      const connection = connectionOf(liveness);
      const names = list(requests.map(({ name }) => name));
      return `
      UPDATE ${byNames(target)} SET owner = ${
        ofEach(names, requests.map(({ owner }) => bytes(owner)))
      }, token = ${CLOCK},
        locked_by = ${ofEach(names, requests.map(({ lockedBy }) => text(lockedBy)))},
        lock_process = ${numberOfEach(names, requests.map(({ lockProcess }) => lockProcess))},
        listed = ${place("token")}, updated_at = token,
        locked_until = token + ${numberOfEach(names, requests.map(({ duration }) => duration))},
        created_at = token + 0 * LAST_INSERT_ID(token),
        metadata = ${ofEach(names, requests.map(({ metadata }) => text(metadata)))},
        session = ${nameOf(liveness)}, connection_id = ${connection}
      WHERE name IN (${names}) AND ${standing(liveness)} AND (${free(CLOCK)}) AND token < ${CLOCK}`;
    },
  };
}
