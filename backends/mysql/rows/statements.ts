import type { LockRef, NextHolder, OwnedLock, RenewRequest } from "../../../core/backend.ts";
import { READ_ONLY } from "../connection/server.ts";
import { bytes, EVERY_ROW, integer, list, text } from "../connection/sql.ts";
import { AcquireStatements, READ_THE_ROW } from "./acquire_statements.ts";
import { isDead } from "./liveness.ts";
import { CLOCK, COLUMNS, UNRELEASED } from "./rows.ts";

/**
 * Releases a row. The owner stays: a row whose length does not change is updated in place, which saves a batch a quarter
 * of the server's time. The place of a name in the index of held rows is kept if it is acquired often.
 */
const FREE = `locked_until = 0, updated_at = ${CLOCK}, listed = IF(listed = 2, 2, 0)`;

/** The condition for a row that no holder has released before its least time. */
const HAS_HOLDER = "locked_by <> ''";

/** The condition for a row that has been free for a day: far longer than a statement can wait, so no token repeats. */
const STALE = `locked_until = 0 AND updated_at < ${CLOCK} - 86400 * 1000000`;

/** The condition for the row of one acquisition, or of the present holder. */
function belongsTo({ name, owner }: LockRef): string {
  const ofOwner = typeof owner === "bigint" ? `token = ${integer(owner)}` : owner && `owner = ${bytes(owner)}`;
  return `name = ${bytes(name)} AND ${ofOwner ?? UNRELEASED}`;
}

/** The expiry that a renewal asks for. */
function wantedExpiry({ from, add }: RenewRequest): string {
  if (add === null) return "NULL";
  return `${from === "now" ? CLOCK : from === "expiry" ? "locked_until" : integer(from)} + ${integer(add)}`;
}

function extended(request: RenewRequest): string {
  return request.add === null ? "NULL" : `GREATEST(locked_until, ${wantedExpiry(request)})`;
}

/**
 * How a statement avoids the wait for a locked row.
 *
 * - `"fail"` (MariaDB): it fails with error 1205 at once. This costs nothing.
 * - `"skip"` (MySQL 8 and later): it leaves locked rows out. This costs half as much again.
 */
export type NoWait = "fail" | "skip";

/** The statements for one table. */
export class Statements extends AcquireStatements {
  /** Changes rows, or only those that no transaction has locked; at most `limit`. */
  #update(rows: string, changes: string, condition: string, noWait: NoWait | undefined, limit = 1): string {
    if (noWait !== "skip") {
      return `${noWait ? "SET STATEMENT innodb_lock_wait_timeout = 0 FOR" : ""}
      UPDATE ${rows} SET ${changes} WHERE ${condition}`;
    }
    return `
      UPDATE (SELECT name AS unlocked_name FROM ${rows} WHERE ${condition} LIMIT ${limit} FOR UPDATE SKIP LOCKED)
        AS unlocked JOIN ${this.table} ON name = unlocked_name
      SET ${changes}`;
  }

  #select(rows: string, condition: string): string {
    return `SELECT ${COLUMNS} FROM ${rows}, (SELECT ${CLOCK} AS now) AS clock WHERE ${UNRELEASED} AND ${condition}`;
  }

  /** The table by its index of held rows, which MySQL does not use by itself until it has counted the table again. */
  get #byListed(): string {
    return `${this.table} FORCE INDEX (listed)`;
  }

  /** Extends a live lock. The outcome is the server's clock, 0 when the lock is gone, or {@linkcode READ_THE_ROW}. */
  renew(request: RenewRequest, noWait?: NoWait): string {
    const isExpected = request.from === "expiry" ? "FALSE" : `locked_until <=> ${wantedExpiry(request)}`;
    const changes = `
        locked_until = ${extended(request)},
        updated_at = ${CLOCK} + 0 * LAST_INSERT_ID(IF(${isExpected}, ${CLOCK}, ${READ_THE_ROW}))`;
    return this.#update(
      this.byName,
      changes,
      `${belongsTo(request)} AND ${HAS_HOLDER} AND ${this.isRenewable(CLOCK)}`,
      noWait,
    );
  }

  /** Extends live locks, all by the same. */
  renewAll(requests: readonly RenewRequest[], noWait?: NoWait): string {
    const changes = `
        locked_until = ${extended(requests[0])},
        updated_at = ${CLOCK}`;
    const condition = `name IN (${list(requests.map(({ name }) => name))})
        AND (${requests.map((request) => `(${belongsTo(request)})`).join(" OR ")}) AND ${HAS_HOLDER} AND ${
      this.isRenewable(CLOCK)
    }`;
    return this.#update(this.byNames, changes, condition, noWait, requests.length);
  }

  /** Releases a live lock, and keeps its row. */
  release(target: LockRef, noWait?: NoWait): string {
    return this.#update(this.byName, FREE, `${belongsTo(target)} AND ${this.isLive(CLOCK)}`, noWait);
  }

  /**
   * Gives a live lock to another owner. With `keep`, only until so many microseconds after it was granted, to none if that
   * time is over, and without metadata.
   */
  changeOwner({ name, owner, keep }: OwnedLock, next: NextHolder, noWait?: NoWait): string {
    const until = keep === undefined ? "locked_until" : `created_at + ${integer(keep)}`;
    const changes = `locked_until = ${until}, owner = ${bytes(next.owner)}, locked_by = ${text(next.lockedBy)},
        lock_process = ${next.lockProcess === null ? "NULL" : integer(next.lockProcess)},
        ${keep === undefined ? "" : "metadata = NULL,"} updated_at = ${CLOCK}`;
    const isLeft = keep === undefined ? "TRUE" : `${until} > ${CLOCK}`;
    const condition = `${belongsTo({ name, owner })} AND ${this.isLive(CLOCK)} AND ${isLeft}`;
    return this.#update(this.byName, changes, condition, noWait);
  }

  /** Frees the row of a lock whose session has ended: to leases it counts as held. None where no row has a session. */
  releaseEnded(target: LockRef, noWait?: NoWait): string | undefined {
    const condition = `${belongsTo(target)} AND ${this.isUnexpired(CLOCK)} AND ${isDead("session")}`;
    return this.hasSession() ? this.#update(this.byName, FREE, condition, noWait) : undefined;
  }

  #releaseSeveral(claims: readonly OwnedLock[], condition: string, noWait?: NoWait): string {
    const those = `name IN (${list(claims.map(({ name }) => name))})
        AND owner IN (${list(claims.map(({ owner }) => owner))})`;
    return this.#update(this.byNames, FREE, `${those} AND ${condition}`, noWait, claims.length);
  }

  /** Releases several live locks, each of one acquisition. */
  releaseAll(claims: readonly OwnedLock[], noWait?: NoWait): string {
    return this.#releaseSeveral(claims, this.isLive(CLOCK), noWait);
  }

  /** Frees the rows of several acquisitions, also of those whose session has ended. */
  undoAll(claims: readonly OwnedLock[]): string {
    return this.#releaseSeveral(claims, this.isUnexpired(CLOCK));
  }

  /**
   * Selects the live rows of names; none where the server is read-only: its rows may be out of date, and the acquisition
   * that follows finds that out. `lock` locks them until the transaction ends.
   */
  selectLive(names: readonly string[], lock = false): string {
    const condition = `name IN (${list(names)}) AND (${this.isLive("now")}) AND NOT ${READ_ONLY}`;
    return `${this.#select(this.byName, condition)} ORDER BY name ${EVERY_ROW}${lock ? " FOR UPDATE" : ""}`;
  }

  /** Selects the live rows of names, and those of these acquisitions that have expired meanwhile. */
  selectAcquired(claims: readonly OwnedLock[]): string {
    const own = `owner IN (${list(claims.map(({ owner }) => owner))})${this.hasSession()}`;
    const condition = `name IN (${list(claims.map(({ name }) => name))}) AND (${this.isLive("now")} OR ${own})
      AND NOT ${READ_ONLY}`;
    return `${this.#select(this.byName, condition)} ORDER BY name ${EVERY_ROW}`;
  }

  /** Selects rows of names, as this server knows them: live ones, or also expired ones. */
  listNames(names: readonly string[], includeExpired = false): string {
    const condition = `name IN (${list(names)}) AND ${includeExpired ? "TRUE" : this.isLive("now")}`;
    return `${this.#select(this.byName, condition)} ORDER BY name ${EVERY_ROW}`;
  }

  /** Selects rows by prefix, unsorted: to sort rows with their metadata takes the server longer. */
  list(prefix: string, includeExpired: boolean): string {
    const begin = bytes(prefix);
    // No byte of UTF-8 is FF: this is the range of all names that begin with the prefix.
    const inRange = prefix === "" ? "TRUE" : `name >= ${begin} AND name < CONCAT(${begin}, X'FF')`;
    const isListed = includeExpired ? "TRUE" : this.isLive("now");
    return this.#select(this.#byListed, `listed IN (1, 2) AND ${inRange} AND ${isListed} ${EVERY_ROW}`);
  }

  #isClearable(scope: "expired" | "all"): string {
    return `${UNRELEASED}${scope === "all" ? "" : ` AND (${this.isFree(CLOCK)})`}`;
  }

  /** Selects the names of rows that `clean` clears. */
  selectClearable(scope: "expired" | "all"): string {
    return `SELECT name FROM ${this.#byListed}
      WHERE listed IN (1, 2) AND ${this.#isClearable(scope)} ORDER BY name ${EVERY_ROW}`;
  }

  /** Clears those of the names that still can be. */
  clear(names: readonly string[], scope: "expired" | "all"): string {
    return `
      UPDATE ${this.byNames} SET ${FREE}
      WHERE name IN (${list(names)}) AND ${this.#isClearable(scope)}`;
  }

  /** Selects names that have been free for a day. */
  selectStale(): string {
    return `SELECT name FROM ${this.table} WHERE ${STALE} ORDER BY name ${EVERY_ROW}`;
  }

  /** Deletes those of the names that have been free for a day. */
  deleteStale(names: readonly string[]): string {
    return `
      DELETE FROM ${this.table}
      WHERE name IN (${list(names)}) AND ${STALE}`;
  }

  /** Selects the name and owner of those of the names that are held; none where the server is read-only. */
  selectOwners(names: readonly string[]): string {
    return `SELECT name, owner FROM ${this.table}
      WHERE name IN (${list(names)}) AND ${this.isLive(CLOCK)} AND NOT ${READ_ONLY} ${EVERY_ROW}`;
  }

  /** Selects a live lock's row, and locks it until the transaction ends. */
  guard(claim: OwnedLock): string {
    return `SELECT token FROM ${this.byName} WHERE ${belongsTo(claim)} AND ${
      this.isLive(CLOCK)
    } ${EVERY_ROW} FOR UPDATE`;
  }
}
