/**
 * The SQL that acquires locks, one text for MySQL and MariaDB. Times are whole microseconds since 1970 by the server's
 * clock in UTC. A statement reports its outcome through `LAST_INSERT_ID(value)`, which both servers send with the answer:
 * the count of affected rows depends on the client's flags, and MySQL has no RETURNING.
 *
 * @module
 */
import type { AcquireRequest } from "../../../core/backend.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import { READ_ONLY } from "../connection/server.ts";
import { bytes, integer, list, quoted, text } from "../connection/inline_parameters.ts";
import { isDead, isUnused } from "./liveness.ts";
import { CLOCK } from "./rows.ts";

/** The outcome of an acquisition or renewal that took effect, but whose times only the row tells. */
export const READ_THE_ROW = 1n;
/** The outcome of {@linkcode AcquireStatements.reacquire} on a row that another acquisition holds. */
export const HELD = 2n;
/** The outcome where nothing was done because the session of the liveness lock has ended at the server. */
export const SESSION_GONE = 3n;
/** The outcome where nothing was done because the server is read-only: some users may write to it nevertheless. */
export const REFUSED = 4n;

/** A name that was free for less than this (µs) is acquired often: its place in the index of held rows is kept. */
const HOT_WITHIN_US = 10_000_000;

/** The column `listed` of a row that changes hands, in the assignments before that of `updated_at`. */
function listedAt(now: string): string {
  return `1 + (updated_at > ${now} - ${HOT_WITHIN_US})`;
}

/** One request as a row. */
function requestRow({ name, owner, duration, lockedBy, lockProcess, metadata }: AcquireRequest): string {
  return `SELECT ${bytes(name)} AS new_name, ${bytes(owner)} AS new_owner, ${integer(duration)} AS new_duration,
    ${text(lockedBy)} AS new_by, ${integer(lockProcess)} AS new_process, ${text(metadata)} AS new_metadata,
    ${CLOCK} AS new_now`;
}

/** A value for each row: one for all if they are equal, otherwise chosen by the position of the row's name in `names`. */
function ofEach(names: string, values: readonly string[]): string {
  return values.every((value) => value === values[0]) ? values[0] : `ELT(FIELD(name, ${names}), ${values.join(", ")})`;
}

/** The same for numbers, which ELT converts to texts. */
function numberOfEach(names: string, numbers: readonly (number | null)[]): string {
  return `CAST(${ofEach(names, numbers.map(integer))} AS SIGNED)`;
}

/** The columns that say which session a row of `hybrid` mode rides on. */
function sessionColumns(liveness: LivenessLock | undefined): { readonly key: string; readonly id: string } {
  return liveness ? { key: bytes(liveness.key), id: liveness.session.id } : { key: "NULL", id: "NULL" };
}

/** The condition that the session of the liveness lock exists: its end may not have reached this process yet. */
export function isSessionAlive(liveness: LivenessLock): string {
  return `IFNULL(IS_USED_LOCK(${bytes(liveness.key)}), 0) = ${liveness.session.id}`;
}

/**
 * The condition that a row has just changed hands, in the assignments that follow that of `owner`: they run from left
 * to right. A row that this very request had before, of which the answer was lost, keeps its time.
 */
function isGranted(liveness: LivenessLock | undefined): string {
  const session = sessionColumns(liveness).key;
  return `line IS NULL AND owner = new_owner AND (locked_until <= new_now OR NOT (session <=> ${session}))`;
}

/** Two rows where one is allowed, which is an error; and the same unless this very request had the row before. */
const FAIL = "(SELECT new_owner UNION ALL SELECT new_owner)";
const OWN_OR_FAIL = `IF(owner = new_owner, owner, ${FAIL})`;

/**
 * How a statement avoids the wait for a locked row.
 *
 * - `"fail"` (MariaDB): it fails with error 1205 at once. This costs nothing.
 * - `"briefly"` (MariaDB): it fails after a second. A row with a queue is mostly locked by other clients' short changes.
 * - `"skip"` (MySQL 8 and later): it leaves locked rows out. This costs half as much again.
 */
export type NoWait = "fail" | "briefly" | "skip";

/** The statements that acquire locks in one table. */
export class AcquireStatements {
  /** The table, quoted. */
  protected readonly table: string;
  /** The table for lookups by name: not even to consider the other index saves 3 % of the time of a batch. */
  protected readonly byName: string;
  /** The table for changes of many names: the server would read, and lock, all rows of a small one. */
  protected readonly byNames: string;
  /** Whether a lock lives only as long as the session that its row names. */
  readonly isHybrid: boolean;
  readonly #checksPrimary: boolean;

  /**
   * @param hybrid Whether a lock lives only as long as the session that its row names.
   * @param checksPrimary Whether acquiring statements check that the server is not read-only. Not where the binary log
   * keeps statements, which a replica runs again.
   */
  constructor(table: string, hybrid: boolean, checksPrimary = false) {
    this.table = quoted(table);
    this.byName = `${this.table} IGNORE INDEX (listed)`;
    this.byNames = `${this.table} FORCE INDEX (PRIMARY)`;
    this.isHybrid = hybrid;
    this.#checksPrimary = checksPrimary;
  }

  /** The table by its index of held rows, which MySQL does not use by itself until it has counted the table again. */
  protected get byListed(): string {
    return `${this.table} FORCE INDEX (listed)`;
  }

  /** Changes rows, or only those that no transaction has locked; at most `limit`. With `NOWAIT` one that is locked is an error. */
  protected update(
    rows: string,
    changes: string,
    condition: string,
    noWait: NoWait | undefined,
    limit = 1,
    ifLocked: "SKIP LOCKED" | "NOWAIT" = "SKIP LOCKED",
  ): string {
    if (noWait !== "skip") {
      return `${noWait ? `SET STATEMENT innodb_lock_wait_timeout = ${noWait === "fail" ? 0 : 1} FOR` : ""}
      UPDATE ${rows} SET ${changes} WHERE ${condition}`;
    }
    return `
      UPDATE (SELECT name AS unlocked_name FROM ${rows} WHERE ${condition} LIMIT ${limit} FOR UPDATE ${ifLocked})
        AS unlocked JOIN ${this.table} ON name = unlocked_name
      SET ${changes}`;
  }

  /** The condition that a row may be acquired. */
  protected isFree(now: string): string {
    return `line IS NULL AND (${this.isLapsed(now)})`;
  }

  /** The condition that the holder in the columns of a row has expired, or its session has ended. */
  protected isLapsed(now: string): string {
    return `locked_until <= ${now}${this.isHybrid ? ` OR ${isDead("session")}` : ""}`;
  }

  /** The condition that a row is held. */
  protected isLive(now: string, row = ""): string {
    return `${this.isUnexpired(now, row)}${this.hasSession(row)}`;
  }

  /** The condition that a row has not expired, whatever became of its session. */
  protected isUnexpired(now: string, row = ""): string {
    return `(${row}locked_until > ${now} OR ${row}locked_until IS NULL)`;
  }

  /** A further condition for a held row: that its session has not ended. */
  protected hasSession(row = ""): string {
    return this.isHybrid ? ` AND NOT ${isDead(`${row}session`)}` : "";
  }

  /** The condition that a row is held and may be extended: the session of its holder exists on this server. */
  protected isRenewable(now: string): string {
    const unused = this.isHybrid ? ` AND NOT ${isUnused("session")}` : "";
    return `${this.isUnexpired(now)}${unused}`;
  }

  /** The condition that the server and the session may grant; it reports {@linkcode REFUSED} or {@linkcode SESSION_GONE}. */
  protected mayGrant(liveness: LivenessLock | undefined): string {
    const session = liveness ? `IF(${isSessionAlive(liveness)}, TRUE, LAST_INSERT_ID(${SESSION_GONE}) = 0)` : "TRUE";
    return this.#checksPrimary
      ? `IF(IF(${READ_ONLY}, LAST_INSERT_ID(${REFUSED}) = 0, TRUE), ${session}, FALSE)`
      : session;
  }

  /**
   * Acquires the names that are free. They must be sorted. For one request the outcome is its token, 0 when the name is
   * held, {@linkcode READ_THE_ROW} or {@linkcode SESSION_GONE}. A request that is repeated after a lost answer finds its
   * own row.
   *
   * @param guarded Acquires all names or none, whose outcome is then 0, and spares losers the row lock; own rows count as
   * held. Not where subqueries take locks (REPEATABLE READ): deadlocks.
   * @param allOrNothing Makes the statement fail, with error 1242, when one of the names is held; so does `guarded` when
   * it sees that too late.
   */
  acquire(
    requests: readonly AcquireRequest[],
    guarded: boolean,
    liveness?: LivenessLock,
    allOrNothing = false,
  ): string {
    const { key, id } = sessionColumns(liveness);
    const granted = isGranted(liveness);
    const isHeld = `held.name IN (${list(requests.map(({ name }) => name))})
        AND (held.line IS NOT NULL OR held.token >= ${CLOCK} OR ${this.isLive(CLOCK, "held.")})`;
    const mayTake = `${this.isFree("new_now")}${guarded ? " AND token < new_now" : ""}`;
    return `
      INSERT INTO ${this.table} (name, owner, token, locked_by, lock_process, locked_until, created_at, updated_at,
        metadata, session, connection_id)
      SELECT new_name, new_owner, new_now, new_by, new_process, new_now + new_duration, new_now,
        new_now + 0 * LAST_INSERT_ID(new_now), new_metadata, ${key}, ${id}
      FROM (${requests.map(requestRow).join(" UNION ALL ")}) AS request
      WHERE ${this.mayGrant(liveness)}
        ${guarded ? `AND NOT EXISTS (SELECT 1 FROM ${this.table} AS held WHERE ${isHeld})` : ""}
      ON DUPLICATE KEY UPDATE
        owner = IF(${mayTake}, new_owner, ${guarded ? FAIL : allOrNothing ? OWN_OR_FAIL : "owner"}),
        token = IF(${granted}, GREATEST(token + 1, new_now), token),
        locked_by = IF(${granted}, new_by, locked_by),
        lock_process = IF(${granted}, new_process, lock_process),
        created_at = IF(${granted}, new_now, created_at),
        metadata = IF(${granted}, new_metadata, metadata),
        listed = IF(${granted}, ${listedAt("new_now")}, listed),
        updated_at = IF(${granted}, new_now + 0 * LAST_INSERT_ID(IF(token = new_now, token, ${READ_THE_ROW})),
          updated_at + 0 * LAST_INSERT_ID(IF(owner = new_owner, ${READ_THE_ROW}, 0))),
        locked_until = IF(${granted}, new_now + new_duration, locked_until),
        connection_id = IF(line IS NULL AND owner = new_owner, ${id}, connection_id),
        session = IF(line IS NULL AND owner = new_owner, ${key}, session)`;
  }

  /**
   * Acquires a name whose row exists, at three quarters of the cost of {@linkcode acquire}. The outcome is its token,
   * {@linkcode HELD}, {@linkcode READ_THE_ROW}, {@linkcode SESSION_GONE}, or 0 when there is no row. A row of the same
   * owner is acquired again if it names another session.
   *
   * Assignments run from left to right: later ones read `created_at`, so the clock is computed once.
   */
  reacquire(
    { name, owner, duration, lockedBy, lockProcess, metadata }: AcquireRequest,
    liveness?: LivenessLock,
  ): string {
    const { key, id } = sessionColumns(liveness);
    return `
      UPDATE ${this.byName} SET
        owner = ${bytes(owner)}, created_at = ${CLOCK}, token = GREATEST(token + 1, created_at),
        locked_by = ${text(lockedBy)}, lock_process = ${integer(lockProcess)},
        listed = ${listedAt("created_at")},
        updated_at = created_at + 0 * LAST_INSERT_ID(IF(token = created_at, token, ${READ_THE_ROW})),
        locked_until = created_at + ${integer(duration)},
        metadata = ${text(metadata)}, session = ${key}, connection_id = ${id}
      WHERE name = ${bytes(name)} AND ${this.mayGrant(liveness)}
        AND (${this.isFree(CLOCK)} OR (line IS NULL AND owner = ${bytes(owner)} AND NOT (session <=> ${key}))
          OR LAST_INSERT_ID(IF(owner = ${bytes(owner)}, ${READ_THE_ROW}, ${HELD})) = 0)`;
  }

  /**
   * Acquires several names whose rows exist and are free: twice the locks a second of {@linkcode acquire} for 256
   * callers. If as many rows are affected, all were acquired and the outcome is the token of all; otherwise the rows have
   * to be read.
   */
  reacquireAll(requests: readonly AcquireRequest[], liveness?: LivenessLock): string {
    const { key, id } = sessionColumns(liveness);
    const names = list(requests.map(({ name }) => name));
    const each = (value: (request: AcquireRequest) => string) => ofEach(names, requests.map(value));
    return `
      UPDATE ${this.byNames} SET owner = ${each(({ owner }) => bytes(owner))}, token = ${CLOCK},
        locked_by = ${each(({ lockedBy }) => text(lockedBy))},
        lock_process = ${numberOfEach(names, requests.map(({ lockProcess }) => lockProcess))},
        listed = ${listedAt("token")}, updated_at = token,
        locked_until = token + ${numberOfEach(names, requests.map(({ duration }) => duration))},
        created_at = token + 0 * LAST_INSERT_ID(token),
        metadata = ${each(({ metadata }) => text(metadata))}, session = ${key}, connection_id = ${id}
      WHERE name IN (${names}) AND ${this.mayGrant(liveness)} AND (${this.isFree(CLOCK)}) AND token < ${CLOCK}`;
  }
}
