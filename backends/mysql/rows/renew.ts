import { namesOf } from "../../../core/util/requests.ts";
import type { LockRow, RenewRequest } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { chunks, sorted } from "./chunks.ts";
import { isConflict, isLockWaitTimeout } from "../errors.ts";
import type { LockTable } from "./lock_table.ts";
import type { Memory } from "./name_hints.ts";
import { RETRY_FIRST_MS, RETRY_FOR_MS, RETRY_LAST_MS, type RowLocks, type Unlocked } from "./row_locks.ts";
import type { OwnedRow } from "./rows.ts";
import type { Server } from "../connection/server.ts";
import { READ_THE_ROW } from "./acquire_statements.ts";

/** Whether a statement is to be repeated at once: not for a locked row. */
const isPassing = (error: unknown) => isConflict(error) && !isLockWaitTimeout(error);

/** Extends locks: one in a statement, several in a batch. */
export class Renewing {
  readonly #table: LockTable;
  readonly #memory: Memory;
  readonly #locks: RowLocks;

  constructor(table: LockTable, memory: Memory, locks: RowLocks) {
    this.#table = table;
    this.#memory = memory;
    this.#locks = locks;
  }

  /** Extends each lock that is still live. */
  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    const server = await this.#table.ready(what);
    if (requests.length === 1) return [await this.#renewOne(what, requests[0], server)];
    const groups = Map.groupBy(sorted(requests), ({ from, add }) => `${from} ${add}`);
    const rows = new Map<string, OwnedRow>();
    for (const some of [...groups.values()].flatMap(chunks)) {
      await this.#renewSome(what, some, this.#locks.wayFor(server, some));
      for (const owned of await this.#table.peekAll(what, some.map(({ name }) => name))) {
        rows.set(owned.row.name, owned);
      }
    }
    return requests.map(({ name, owner }) => this.#renewed(owner, rows.get(name)));
  }

  /**
   * Several. A row that a transaction keeps locked gets no more time, and no other waits for it: the answer says what is
   * left, and the holder renews again before that is over.
   */
  async #renewSome(what: string, requests: readonly RenewRequest[], way: Unlocked | undefined): Promise<void> {
    try {
      await this.#table.renew(what, this.#table.sql.renewAll(requests, way), isPassing);
    } catch (error) {
      if (!(error instanceof BackendError && isLockWaitTimeout(error.cause))) throw error;
      this.#locks.note(requests);
      if (requests.length === 1) return;
      for (const request of requests) await this.#renewSome(what, [request], way);
    }
  }

  async #renewOne(what: string, request: RenewRequest, server: Server): Promise<LockRow | undefined> {
    const way = this.#locks.wayFor(server, [request]);
    // MySQL promises no order of assignments in the form that leaves out locked rows: its answer would not be right.
    if (way === "skip") return await this.#renewUnlocked(what, request);
    const sql = this.#table.sql.renew(request, way);
    const { insertId: told } = await this.#locks.waiting(() => this.#table.renew(what, sql));
    if (told === 0n) return undefined;
    const { name, owner } = request;
    const granted = owner === null ? undefined : this.#memory.granted({ name, owner });
    if (!granted || told === READ_THE_ROW) {
      return this.#renewed(owner, await this.#table.peek(what, name));
    }
    const now = Number(told);
    const { from, add } = request;
    const lockedUntil = add === null ? null : (from === "now" ? now : Number(from)) + add;
    const row = { ...granted, lockedUntil, updatedAt: now, now };
    this.#memory.noteGranted(owner!, row);
    return row;
  }

  /** Tries, with pauses, until no transaction keeps the row locked. */
  async #renewUnlocked(what: string, request: RenewRequest): Promise<LockRow | undefined> {
    const { name, owner } = request;
    const startedAt = monotonic();
    for (let pause = RETRY_FIRST_MS;; pause = Math.min(pause * 2, RETRY_LAST_MS)) {
      const { affectedRows } = await this.#table.renew(what, this.#table.sql.renewAll([request], "skip"), isPassing);
      const owned = await this.#table.peek(what, name);
      if (affectedRows > 0 || !owned || (owner !== null && owned.owner !== owner)) return this.#renewed(owner, owned);
      if (monotonic() - startedAt > RETRY_FOR_MS) {
        throw new BackendError(`Cannot ${what}: another transaction keeps the row locked`, { retryable: true });
      }
      await this.#table.pause(what, pause * (0.5 + Math.random()));
    }
  }

  /** The row after a renewal; another's by now, or none, means that it is gone. */
  #renewed(owner: string | null, owned: OwnedRow | undefined): LockRow | undefined {
    if (!owned || (owner !== null && owned.owner !== owner)) return undefined;
    if (owner !== null) this.#memory.noteGranted(owner, owned.row);
    return owned.row;
  }
}
