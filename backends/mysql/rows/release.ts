import { namesOf } from "../../../core/util/requests.ts";
import type { LockRef, OwnedLock } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { lanes, sorted } from "./chunks.ts";
import type { Doubts } from "./doubts.ts";
import { isConflict, isLockWaitTimeout } from "../errors.ts";
import type { LockTable } from "./lock_table.ts";
import type { Memory } from "./name_hints.ts";
import { RETRY_FIRST_MS, RETRY_FOR_MS, RETRY_LAST_MS, type RowLocks, type Unlocked } from "./row_locks.ts";
import type { Server } from "../connection/server.ts";

/** Whether a statement is to be repeated at once: not for a locked row, which would keep the connection waiting. */
const isPassing = (error: unknown) => isConflict(error) && !isLockWaitTimeout(error);

/** Frees locks: one in a statement, several in a batch. No connection waits for a row that a transaction keeps. */
export class Releasing {
  readonly #table: LockTable;
  readonly #memory: Memory;
  readonly #locks: RowLocks;
  readonly #doubts: () => Doubts;
  readonly #passOn: (name: string) => void;

  /** @param passOn Lets the next process have its turn while the release is still under way. */
  constructor(
    table: LockTable,
    memory: Memory,
    locks: RowLocks,
    doubts: () => Doubts,
    passOn: (name: string) => void,
  ) {
    this.#table = table;
    this.#memory = memory;
    this.#locks = locks;
    this.#doubts = doubts;
    this.#passOn = passOn;
  }

  /** Frees each lock that is still live. */
  async release(targets: readonly LockRef[]): Promise<boolean[]> {
    const what = `release ${namesOf(targets)}`;
    const server = await this.#table.ready(what);
    await this.#doubts().settle(what, targets);
    const claims = targets.filter((target): target is OwnedLock => target.owner !== null);
    const together = claims.length === targets.length && claims.length > 1 ? lanes(sorted(claims)) : [];
    const whole = await Promise.all(together.map((some) => this.#releaseAll(what, some, server)));
    const freed = new Set(together.filter((_, index) => whole[index]).flat());
    return await Promise.all(targets.map((target) => freed.has(target as OwnedLock) || this.one(what, target, server)));
  }

  /** Frees one. While a transaction keeps its row locked it is tried again, with pauses. */
  async one(what: string, target: LockRef, server: Server): Promise<boolean> {
    const startedAt = monotonic();
    for (let pause = RETRY_FIRST_MS, first = true;; pause = Math.min(pause * 2, RETRY_LAST_MS), first = false) {
      const trying = this.#try(what, target, this.#locks.wayFor(server, [target]));
      if (first) this.#passOn(target.name);
      const freed = await trying.catch((error) => {
        if (!(error instanceof BackendError && isLockWaitTimeout(error.cause))) throw error;
        if (monotonic() - startedAt > RETRY_FOR_MS) throw error;
        return undefined;
      });
      if (freed !== undefined) {
        if (target.owner !== null) this.#memory.forget(target as OwnedLock);
        return freed;
      }
      this.#locks.note([target]);
      if (monotonic() - startedAt > RETRY_FOR_MS) {
        throw new BackendError(`Cannot ${what}: another transaction keeps the row locked`, { retryable: true });
      }
      await this.#table.pause(what, pause * (0.5 + Math.random()));
    }
  }

  /** Whether it was freed; `undefined` when a transaction keeps its row locked. */
  async #try(what: string, target: LockRef, way: Unlocked | undefined): Promise<boolean | undefined> {
    const send = () => this.#table.run(what, this.#table.sql.release(target, way), isPassing);
    const { affectedRows } = await (way ? send() : this.#locks.waiting(send));
    if (affectedRows > 0 || way !== "skip") return affectedRows > 0;
    const { rows: [held] } = await this.#table.run(what, this.#table.sql.held([target.name]));
    return held && (target.owner === null || held[1] === target.owner) ? undefined : false;
  }

  /** Frees several in one statement; when one of them was gone, nothing: the number alone does not tell which. */
  async #releaseAll(what: string, claims: readonly OwnedLock[], server: Server): Promise<boolean> {
    const way = this.#locks.wayFor(server, claims);
    const send = () =>
      this.#table.transaction(what, async (send) => {
        const { affectedRows } = await send(this.#table.sql.releaseAll(claims, way));
        const keep = affectedRows === claims.length;
        return { keep, result: keep };
      }, isPassing);
    const whole = await (way ? send() : this.#locks.waiting(send)).catch((error) => {
      if (!(error instanceof BackendError && isLockWaitTimeout(error.cause))) throw error;
      this.#locks.note(claims);
      return false;
    });
    if (whole) {
      for (const claim of claims) {
        this.#memory.forget(claim);
        this.#passOn(claim.name);
      }
    }
    return whole;
  }
}
