import type { LockRef, OwnedLock } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import type { Server } from "../connection/server.ts";
import { isPassingConflict, isRowLocked } from "../errors.ts";
import type { Queue } from "../queue/queue.ts";
import type { NoWait } from "./acquire_statements.ts";
import type { LockedRows } from "./locked_rows.ts";
import type { LockTable } from "./lock_table.ts";
import type { NameHints } from "./name_hints.ts";
import { chunks, sorted } from "./rows.ts";
import type { UnknownRequests } from "./unknown_requests.ts";

/** Releases locks: one in a statement, several in a batch. */
export class Releaser {
  readonly #table: LockTable;
  readonly #hints: NameHints;
  readonly #lockedRows: LockedRows;
  readonly #queue: Queue;
  readonly #unknown: UnknownRequests;

  constructor(table: LockTable, hints: NameHints, lockedRows: LockedRows, queue: Queue, unknown: UnknownRequests) {
    this.#table = table;
    this.#queue = queue;
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
    const plain = claims.filter((claim) => claim.keep === undefined && !this.#queue.seen.isQueued(claim.name));
    const isBatch = plain.length === targets.length && plain.length > 1 && this.#table.hasTransactions;
    const batches = isBatch ? chunks(sorted(plain)) : [];
    const isWhole = await Promise.all(batches.map((batch) => this.#releaseAll(what, batch, server)));
    const freed = new Set(batches.filter((_, index) => isWhole[index]).flat());
    return await Promise.all(targets.map((target) => freed.has(target as OwnedLock) || this.one(what, target, server)));
  }

  /** Releases one: with one statement if it is held alone, or has an exclusive lock with a queue. */
  async one(what: string, target: LockRef, server: Server): Promise<boolean> {
    const sending = { what, server };
    const { seen } = this.#queue;
    const attempts = [
      () => this.#releasePlain(what, target, server),
      () => this.#queue.handOff(sending, target),
    ];
    if (seen.isQueued(target.name)) attempts.reverse();
    const isWhole = target.keep !== undefined || seen.isWaiting(target);
    const freed = (!isWhole && (await attempts[0]() || await attempts[1]())) ||
      await this.#queue.release(sending, target);
    if (typeof target.owner === "string") this.#hints.forget(target as OwnedLock);
    return freed;
  }

  /** Whether it was held without a queue, and is released. */
  async #releasePlain(what: string, target: LockRef, server: Server): Promise<boolean> {
    const send = (noWait?: NoWait) => this.#table.run(what, this.#table.sql.release(target, noWait), isPassingConflict);
    return await this.#table.whenUnlocked(what, async () => {
      return (await this.#lockedRows.send(server, [target], send, true)).affectedRows > 0;
    });
  }

  /** Releases all, or none when one of them was gone: the count does not tell which. */
  async #releaseAll(what: string, claims: readonly OwnedLock[], server: Server): Promise<boolean> {
    const send = (noWait?: NoWait) =>
      this.#table.changeAll(what, this.#table.sql.releaseAll(claims, noWait), claims.length, isPassingConflict);
    const isWhole = await this.#lockedRows.send(server, claims, send).catch((error) => {
      if (!isRowLocked(error)) throw error;
      return false;
    });
    if (isWhole) { for (const claim of claims) this.#hints.forget(claim); }
    return isWhole;
  }
}
