/**
 * The SQL that takes locks.
 *
 * @module
 */
import type { AcquireRequest } from "../../../core/backend.ts";
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

/** What vouches for a lock in `hybrid`: the GET_LOCK that the holder's connection keeps. */
export interface Voucher {
  /** The server-side name of the lock. */
  readonly name: string;
  /** The connection that keeps it. */
  readonly connectionId: number;
}

/** The statements that take locks in one table. */
export interface Taking {
  /**
   * Takes what is free, in the order given, which has to be sorted. For one request the answer is its token, 0 when
   * the name is held, {@linkcode READ_THE_ROW}, or {@linkcode UNVOUCHED}. `guarded` spares losers the row lock; it must not be used where
   * subqueries take locks (REPEATABLE READ), or two takers may get in each other's way. A request that is repeated after
   * a lost answer finds its own row.
   */
  acquire(requests: readonly AcquireRequest[], guarded: boolean, voucher?: Voucher): string;
  /**
   * Takes one whose row is there: no words for a new row, so that it costs the server a quarter less than
   * {@linkcode Taking.acquire}. The answer is its token, {@linkcode HELD}, {@linkcode READ_THE_ROW},
   * {@linkcode UNVOUCHED}, or 0 when there is no row. A row of the same owner is taken
   * again if another session than the present one vouches for it.
   */
  retake(request: AcquireRequest, voucher?: Voucher): string;
  /**
   * Takes several whose rows are there and free. When as many rows are affected all were taken, and the answer is the token
   * of all; else the rows have to be read. Two thirds of the work of {@linkcode Taking.acquire} for each.
   */
  retakeAll(requests: readonly AcquireRequest[], voucher?: Voucher): string;
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

/** The voucher's name in SQL. */
function nameOf(voucher: Voucher | undefined): string {
  return voucher ? bytes(voucher.name) : "NULL";
}

/** Whether the session that is to vouch for a row is still there: its end may not have reached this process yet. */
export function isVouched(voucher: Voucher): string {
  return `IFNULL(IS_USED_LOCK(${bytes(voucher.name)}), 0) = ${voucher.connectionId}`;
}

/** The same as a condition; where it fails the statement answers {@linkcode UNVOUCHED}, which is not "held". */
function vouchedFor(voucher: Voucher | undefined): string {
  return voucher ? `IF(${isVouched(voucher)}, TRUE, LAST_INSERT_ID(${UNVOUCHED}) = 0)` : "TRUE";
}

/** Whether the server is the primary: a replica takes writes of users with SUPER or its like, which the primary never sees. */
const IS_PRIMARY = `IF(${READ_ONLY}, LAST_INSERT_ID(${REFUSED}) = 0, TRUE)`;

/**
 * Whether the row has just changed hands, in the assignments that follow the one of `owner`: they run from left to
 * right. A row that was this very request's already (it was repeated after a lost answer) has its session and time.
 */
function fresh(voucher: Voucher | undefined): string {
  return `owner = new_owner AND (locked_until <= new_now OR NOT (session <=> ${nameOf(voucher)}))`;
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
  const standing = (voucher: Voucher | undefined) =>
    asks ? `IF(${IS_PRIMARY}, ${vouchedFor(voucher)}, FALSE)` : vouchedFor(voucher);
  const spared = `AND NOT EXISTS (SELECT 1 FROM ${target} AS held WHERE held.name = new_name
        AND held.owner <> new_owner AND ${live("new_now", "held.")})`;

  return {
    acquire: (requests, guarded, voucher) => `
      INSERT INTO ${target} (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at, metadata,
        session, connection_id)
      SELECT new_name, new_owner, new_now, new_by, new_process, new_now + new_duration, new_now,
        new_now + 0 * LAST_INSERT_ID(new_now), new_metadata,
        ${nameOf(voucher)}, ${integer(voucher?.connectionId ?? null)}
      FROM (${requests.map(wish).join(" UNION ALL ")}) AS wish
      WHERE ${standing(voucher)} ${guarded ? spared : ""}
      ON DUPLICATE KEY UPDATE
        owner = IF(${free("new_now")}, new_owner, owner),
        token = IF(${fresh(voucher)}, GREATEST(token + 1, new_now), token),
        locked_by = IF(${fresh(voucher)}, new_by, locked_by),
        lock_process = IF(${fresh(voucher)}, new_process, lock_process),
        created_at = IF(${fresh(voucher)}, new_now, created_at),
        metadata = IF(${fresh(voucher)}, new_metadata, metadata),
        listed = IF(${fresh(voucher)}, ${place("new_now")}, listed),
        updated_at = IF(${fresh(voucher)}, new_now + 0 * LAST_INSERT_ID(IF(token = new_now, token, ${READ_THE_ROW})),
          updated_at + 0 * LAST_INSERT_ID(IF(owner = new_owner, ${READ_THE_ROW}, 0))),
        locked_until = IF(${fresh(voucher)}, new_now + new_duration, locked_until),
        connection_id = IF(owner = new_owner, ${integer(voucher?.connectionId ?? null)}, connection_id),
        session = IF(owner = new_owner, ${nameOf(voucher)}, session)`,

    // from left to right: what follows an assignment reads what it assigned, and the clock is computed less often
    retake({ name, owner, duration, lockedBy, lockProcess, metadata }, voucher) {
      const connection = integer(voucher?.connectionId ?? null);
      return `
      UPDATE ${byName(target)} SET
        owner = ${bytes(owner)}, created_at = ${CLOCK}, token = GREATEST(token + 1, created_at),
        locked_by = ${text(lockedBy)}, lock_process = ${integer(lockProcess)},
        listed = ${place("created_at")},
        updated_at = created_at + 0 * LAST_INSERT_ID(IF(token = created_at, token, ${READ_THE_ROW})),
        locked_until = created_at + ${integer(duration)},
        metadata = ${text(metadata)}, session = ${nameOf(voucher)}, connection_id = ${connection}
      WHERE name = ${bytes(name)} AND ${standing(voucher)}
        AND (${free(CLOCK)} OR (owner = ${bytes(owner)} AND NOT (session <=> ${nameOf(voucher)}))
          OR LAST_INSERT_ID(IF(owner = ${bytes(owner)}, ${READ_THE_ROW}, ${HELD})) = 0)`;
    },

    retakeAll(requests, voucher) {
      const connection = integer(voucher?.connectionId ?? null);
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
        session = ${nameOf(voucher)}, connection_id = ${connection}
      WHERE name IN (${names}) AND ${standing(voucher)} AND (${free(CLOCK)}) AND token < ${CLOCK}`;
    },
  };
}
