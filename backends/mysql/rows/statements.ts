import type { AcquireRequest, LockRef, LockRow, OwnedLock, RenewRequest } from "../../../core/backend.ts";
import { READ_ONLY } from "../connection/server.ts";
import { bytes, EVERY_ROW, integer, list, text } from "../connection/inline_parameters.ts";
import { QueueStatements } from "../queue/queue_statements.ts";
import { type NoWait, READ_THE_ROW } from "./acquire_statements.ts";
import { belongsTo, CLOCK, COLUMNS, FREE, UNRELEASED } from "./rows.ts";

/** The condition for a row that no holder has released before its least time. */
const HAS_HOLDER = "locked_by <> ''";
/** The condition for a row free for a day, longer than a statement waits; a token ahead of the clock must not repeat. */
const STALE = `locked_until = 0 AND line IS NULL AND GREATEST(token, updated_at + 86400 * 1000000) < ${CLOCK}`;

/** The expiry that a renewal asks for. */
function wantedExpiry({ from, add }: RenewRequest): string {
  if (add === null) return "NULL";
  return `${from === "now" ? CLOCK : from === "expiry" ? "locked_until" : integer(from)} + ${integer(add)}`;
}

/** The condition for a holder that a renewal finds in the columns of its row; by name only for one that is alone. */
function isHeld(request: RenewRequest): string {
  return `${belongsTo(request)}${request.owner === null ? " AND slots IS NULL" : ""} AND ${HAS_HOLDER}`;
}

/** The names of locks as a list. */
function namesOf(claims: readonly OwnedLock[]): string {
  return list(claims.map(({ name }) => name));
}

/** The owners of locks as a list. */
function ownersOf(claims: readonly OwnedLock[]): string {
  return list(claims.map(({ owner }) => owner));
}

/** The statements for one table. */
export class Statements extends QueueStatements {
  /** Extends a live lock. The outcome is the server's clock, 0 when the lock is gone, or {@linkcode READ_THE_ROW}. */
  renew(request: RenewRequest, noWait?: NoWait): string {
    const isExpected = request.from === "expiry"
      ? "FALSE"
      : `line IS NULL AND locked_until <=> ${wantedExpiry(request)}`;
    const changes = `
        locked_until = GREATEST(locked_until, ${wantedExpiry(request)}),
        updated_at = ${CLOCK} + 0 * LAST_INSERT_ID(IF(${isExpected}, ${CLOCK}, ${READ_THE_ROW}))`;
    return this.update(this.byName, changes, `${isHeld(request)} AND ${this.isRenewable(CLOCK)}`, noWait);
  }

  /** Extends live locks, all by the same. */
  renewAll(requests: readonly RenewRequest[], noWait?: NoWait): string {
    const changes = `locked_until = GREATEST(locked_until, ${wantedExpiry(requests[0])}), updated_at = ${CLOCK}`;
    const condition = `name IN (${list(requests.map(({ name }) => name))})
        AND (${requests.map((request) => `(${isHeld(request)})`).join(" OR ")}) AND ${this.isRenewable(CLOCK)}`;
    return this.update(this.byNames, changes, condition, noWait, requests.length);
  }

  /** Releases a live lock that no client waits for, and keeps its row. */
  release(target: LockRef, noWait?: NoWait): string {
    return this.update(this.byName, FREE, `line IS NULL AND ${belongsTo(target)} AND ${this.isLive(CLOCK)}`, noWait);
  }

  /**
   * Releases several live locks, each of one acquisition. It fails, with error 1242, and changes nothing when a row is
   * there whose lock is another's, has ended, or has a queue; where rows are to be skipped that are locked, with 3572.
   */
  releaseAll(claims: readonly OwnedLock[], noWait?: NoWait): string {
    const isOurs = `line IS NULL AND owner IN (${ownersOf(claims)}) AND ${this.isLive(CLOCK)}`;
    const fails = "(SELECT owner UNION ALL SELECT owner)"; // compared: MySQL computes no more than it has to
    const condition = `name IN (${namesOf(claims)}) AND owner = IF(${isOurs}, owner, ${fails})`;
    return this.update(this.byNames, FREE, condition, noWait, claims.length, "NOWAIT");
  }

  /** Frees the rows of several acquisitions, also of those whose session has ended. */
  undoAll(claims: readonly OwnedLock[]): string {
    const condition = `line IS NULL AND name IN (${namesOf(claims)}) AND owner IN (${ownersOf(claims)})
        AND ${this.isUnexpired(CLOCK)}`;
    return this.update(this.byNames, FREE, condition, undefined);
  }

  /** Selects those names of locks that have rows. */
  selectNames(claims: readonly OwnedLock[]): string {
    return `SELECT name FROM ${this.byName} WHERE name IN (${namesOf(claims)}) ${EVERY_ROW}`;
  }

  /**
   * Selects the live rows of names; none where the server is read-only: its rows may be out of date, and the acquisition
   * that follows finds that out. Of these acquisitions also those that have expired.
   */
  selectLive(names: readonly string[], claims: readonly OwnedLock[] = []): string {
    const own = claims.length > 0 ? ` OR owner IN (${ownersOf(claims)})${this.hasSession()}` : "";
    const condition = `name IN (${list(names)}) AND (${this.isLive(CLOCK)}${own}) AND NOT ${READ_ONLY}`;
    return `SELECT ${COLUMNS} FROM ${this.byName} WHERE ${UNRELEASED} AND ${condition} ORDER BY name ${EVERY_ROW}`;
  }

  /** Selects the clock if the holder of a name is alone, as it was seen, and not the owner of the request. */
  selectSame({ name, owner }: AcquireRequest, { token, updatedAt }: LockRow): string {
    return `SELECT ${CLOCK} AS now FROM ${this.byName} WHERE name = ${bytes(name)} AND token = ${token}
      AND updated_at = ${integer(updatedAt)} AND owner <> ${bytes(owner)} AND line IS NULL AND ${this.isLive(CLOCK)}
      AND NOT ${READ_ONLY} ${EVERY_ROW}`;
  }

  /** Selects rows of names, as this server knows them: live ones, or also expired ones. */
  listNames(names: readonly string[], includeExpired: boolean): string {
    return `${this.#list(this.byName, `name IN (${list(names)})`, includeExpired)} ORDER BY name ${EVERY_ROW}`;
  }

  /** Selects rows by prefix, unsorted: to sort rows with their metadata takes the server longer. */
  list(prefix: string, includeExpired: boolean): string {
    const begin = bytes(prefix);
    // No byte of UTF-8 is FF: this is the range of all names that begin with the prefix.
    const inRange = prefix === "" ? "TRUE" : `name >= ${begin} AND name < CONCAT(${begin}, X'FF')`;
    return `${this.#list(this.byListed, `listed IN (1, 2) AND ${inRange}`, includeExpired)} ${EVERY_ROW}`;
  }

  /** Selects rows, and whether the holder in their columns is live. */
  #list(rows: string, condition: string, includeExpired: boolean): string {
    const isListed = includeExpired ? UNRELEASED : `${UNRELEASED} AND ${this.isLive(CLOCK)}`;
    return `SELECT ${COLUMNS}, ${UNRELEASED} AND ${this.isLive(CLOCK)} FROM ${rows}
      WHERE ${condition} AND (line IS NOT NULL OR (${isListed}))`;
  }

  #isClearable(scope: "expired" | "all"): string {
    return `line IS NULL AND ${UNRELEASED}${scope === "all" ? "" : ` AND (${this.isLapsed(CLOCK)})`}`;
  }

  /** Selects the names of rows that `clean` clears. */
  selectClearable(scope: "expired" | "all"): string {
    return `SELECT name FROM ${this.byListed}
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

  /** Selects a lock's row, and locks it until the transaction ends: the owner if live, the further holders, the clock. */
  guard(claim: OwnedLock): string {
    const isFirst = `${belongsTo(claim)} AND ${this.isLive(CLOCK)}`;
    return `SELECT IF(${isFirst}, owner, NULL), CAST(line AS BINARY), ${CLOCK} FROM ${this.byName}
      WHERE name = ${bytes(claim.name)} AND ((${isFirst}) OR line LIKE ${text(`%"${claim.owner}"%`)})
      ${EVERY_ROW} FOR UPDATE`;
  }
}
