import type { LockRef, NextHolder, OwnedLock } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { keptOwner } from "../../shared/line.ts";
import type { Server } from "../connection/server.ts";
import { isPassingConflict, isRowLocked, type LockedRows, retryWhileLocked } from "./guard.ts";
import type { LockTable } from "./lock_table.ts";
import type { NameHints } from "./name_hints.ts";
import { chunks, isOf, sorted } from "./rows.ts";
import type { NoWait } from "./statements.ts";
import type { UnknownRequests } from "./unknown_requests.ts";

/** Releases locks: one in a statement, several in a batch. */
export class Releases {
  readonly #table: LockTable;
  readonly #hints: NameHints;
  readonly #lockedRows: LockedRows;
  readonly #unknown: UnknownRequests;

  constructor(table: LockTable, hints: NameHints, lockedRows: LockedRows, unknown: UnknownRequests) {
    this.#table = table;
    this.#hints = hints;
    this.#lockedRows = lockedRows;
    this.#unknown = unknown;
  }

  /** Releases each lock that is still live. */
  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const what = `release ${namesOf(targets)}`;
    const server = await this.#table.ready(what);
    await this.#unknown.settle(what, targets);
    const claims = targets.filter((target): target is OwnedLock => typeof target.owner === "string");
    const isBatch = claims.every(({ keep }) => keep === undefined) && claims.length === targets.length &&
      claims.length > 1 && this.#table.hasTransactions;
    const batches = isBatch ? chunks(sorted(claims)) : [];
    const isWhole = await Promise.all(batches.map((batch) => this.#releaseAll(what, batch, server)));
    const freed = new Set(batches.filter((_, index) => isWhole[index]).flat());
    return await Promise.all(targets.map((target) => freed.has(target as OwnedLock) || this.one(what, target, server)));
  }

  /** Releases one. */
  async one(what: string, target: LockRef, server: Server): Promise<boolean> {
    if (target.keep === undefined) return await this.#free(what, target, server);
    const lock = { ...target, owner: String(target.owner) };
    const noHolder = { owner: keptOwner(lock.owner), lockedBy: "", lockProcess: null };
    const keep = (owner: string) => this.changeOwner(what, { ...lock, owner }, noHolder, server);
    if (await keep(lock.owner)) return true;
    // the first of two requests may have taken effect
    return await this.#free(what, target, server) || await keep(noHolder.owner);
  }

  /**
   * Gives a live lock to another owner, with `keep` unless that time is over; returns whether it did. Waits where its row
   * is locked.
   */
  async changeOwner(what: string, lock: OwnedLock, next: NextHolder, server: Server): Promise<boolean> {
    this.#hints.forget(lock);
    return await retryWhileLocked(this.#table, what, async () => {
      const noWait = this.#lockedRows.noWaitFor(server, [lock]) === "fail" ? "fail" : undefined; // none may be left out
      const send = () => this.#table.run(what, this.#table.sql.changeOwner(lock, next, noWait), isPassingConflict);
      return { result: (await (noWait ? send() : this.#lockedRows.waiting(send))).affectedRows > 0 };
    });
  }

  async #free(what: string, target: LockRef, server: Server): Promise<boolean> {
    const freed = await retryWhileLocked(this.#table, what, async () => {
      const result = await this.#try(what, target, this.#lockedRows.noWaitFor(server, [target])).catch((error) => {
        if (isRowLocked(error)) this.#lockedRows.note([target]);
        throw error;
      });
      if (result !== undefined) return { result };
      this.#lockedRows.note([target]);
      return undefined;
    });
    if (typeof target.owner === "string") this.#hints.forget(target as OwnedLock);
    return freed;
  }

  /** Whether it was released; `undefined` when a transaction keeps its row locked. */
  async #try(what: string, target: LockRef, noWait: NoWait | undefined): Promise<boolean | undefined> {
    const { sql } = this.#table;
    const update = async (sql: string) => {
      const send = () => this.#table.run(what, sql, isPassingConflict);
      return (await (noWait ? send() : this.#lockedRows.waiting(send))).affectedRows > 0;
    };
    if (await update(sql.release(target, noWait))) return true;
    const ended = sql.releaseEnded(target, noWait);
    if (ended !== undefined && await update(ended)) return false;
    if (noWait !== "skip") return false;
    const [left] = await this.#table.listAll(what, [target.name], true); // of an ended session too
    const isLocked = left && isOf(target, left) && (left.row.lockedUntil ?? Infinity) > left.row.now;
    return isLocked ? undefined : false;
  }

  /** Releases all in one statement, or none when one of them was gone: the count does not tell which. */
  async #releaseAll(what: string, claims: readonly OwnedLock[], server: Server): Promise<boolean> {
    const noWait = this.#lockedRows.noWaitFor(server, claims);
    const send = () =>
      this.#table.transaction(what, async (send) => {
        const { affectedRows } = await send(this.#table.sql.releaseAll(claims, noWait));
        const keep = affectedRows === claims.length;
        return { keep, result: keep };
      }, isPassingConflict);
    const isWhole = await (noWait ? send() : this.#lockedRows.waiting(send)).catch((error) => {
      if (!isRowLocked(error)) throw error;
      this.#lockedRows.note(claims);
      return false;
    });
    if (isWhole) { for (const claim of claims) this.#hints.forget(claim); }
    return isWhole;
  }
}
