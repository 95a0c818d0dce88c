import type { LockRef, OwnedLock } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import type { Server } from "../connection/server.ts";
import { isOneHeld, isPassingConflict, isRowLocked } from "../errors.ts";
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
    const isBatch = plain.length === targets.length && plain.length > 1;
    const batches = isBatch ? chunks(sorted(plain)) : [];
    const freed = new Set((await Promise.all(batches.map((batch) => this.#releaseAll(what, batch, server)))).flat());
    return await Promise.all(targets.map((target) => freed.has(target as OwnedLock) || this.one(what, target, server)));
  }

  /** Releases one: with one statement if it is held alone, or has an exclusive lock with a queue. */
  async one(what: string, target: LockRef, server: Server): Promise<boolean> {
    const sending = { what, server };
    const { seen } = this.#queue;
    const send = (noWait?: NoWait) => this.#table.run(what, this.#table.sql.release(target, noWait), isPassingConflict);
    const release = async () => (await this.#lockedRows.send(server, [target], send, true)).affectedRows > 0;
    const attempts = [
      () => this.#table.whenUnlocked(what, release),
      () => this.#queue.handOff(sending, target),
    ];
    if (seen.isQueued(target.name)) attempts.reverse();
    const isWhole = target.keep !== undefined || seen.isWaiting(target);
    const freed = (!isWhole && (await attempts[0]() || await attempts[1]())) ||
      await this.#queue.release(sending, target);
    if (typeof target.owner === "string") this.#hints.forget(target as OwnedLock);
    return freed;
  }

  /**
   * Releases all, or none when the row of one says that it is gone; returns those that were released. In one statement:
   * a client that is cut off, or stopped, in a transaction would keep the rows locked for hours.
   */
  async #releaseAll(what: string, claims: readonly OwnedLock[], server: Server): Promise<readonly OwnedLock[]> {
    const { sql } = this.#table;
    const send = (noWait?: NoWait) => this.#table.run(what, sql.releaseAll(claims, noWait), isPassingConflict);
    const answer = await this.#lockedRows.send(server, claims, send).catch((error) => {
      if (!isRowLocked(error) && !isOneHeld(error)) throw error;
    });
    if (answer === undefined) return [];
    let freed = claims;
    if (answer.affectedRows < claims.length) { // rows were deleted
      const { rows } = await this.#table.run(what, sql.selectNames(claims));
      const there = new Set(rows.map(([name]) => name));
      freed = claims.filter(({ name }) => there.has(name));
    }
    for (const claim of freed) this.#hints.forget(claim);
    return freed;
  }
}
