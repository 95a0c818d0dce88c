import type { LockRow, RenewRequest } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import type { Server } from "../connection/server.ts";
import { isPassingConflict, isRowLocked } from "../errors.ts";
import { type NoWait, READ_THE_ROW } from "./acquire_statements.ts";
import type { LockedRows } from "./locked_rows.ts";
import type { LockTable } from "./lock_table.ts";
import type { Queue } from "../queue/queue.ts";
import type { NameHints } from "./name_hints.ts";
import { chunks, isOf, type OwnedRow, sorted } from "./rows.ts";

/** Whether the columns of a row are of the acquisition that a request is about, or by name of the only holder. */
function isHeld(request: RenewRequest, owned: OwnedRow): boolean {
  const isAlone = request.owner !== null || (owned.row.limit ?? 1) === 1;
  return isAlone && isOf(request, owned) && owned.row.lockedBy !== "";
}

/** Extends locks: one in a statement, several in a batch. */
export class Renewals {
  readonly #table: LockTable;
  readonly #hints: NameHints;
  readonly #lockedRows: LockedRows;
  readonly #queue: Queue;

  constructor(table: LockTable, hints: NameHints, lockedRows: LockedRows, queue: Queue) {
    this.#queue = queue;
    this.#table = table;
    this.#hints = hints;
    this.#lockedRows = lockedRows;
  }

  /** Extends each lock that is still live. */
  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    const server = await this.#table.ready(what);
    const rows = await this.#renewFirst(what, requests, server);
    // A lock that is not in the columns of its row may be one of several in `line`; by name, all of them are meant.
    return await Promise.all(
      requests.map((request, index) => rows[index] ?? this.#queue.renew({ what, server }, request)),
    );
  }

  /** Extends the holders that the rows have in their columns. */
  async #renewFirst(what: string, requests: readonly RenewRequest[], server: Server): Promise<(LockRow | undefined)[]> {
    if (requests.length === 1) return [await this.#renewOne(what, requests[0], server)];
    const alike = Map.groupBy(sorted(requests), ({ from, add }) => `${from} ${add}`);
    const rows = new Map<string, OwnedRow>();
    for (const batch of [...alike.values()].flatMap(chunks)) {
      await this.#renewAll(what, batch, server);
      for (const owned of await this.#table.liveRows(what, batch.map(({ name }) => name))) {
        rows.set(owned.row.name, owned);
      }
    }
    return requests.map((request) => this.#renewed(request, rows.get(request.name)));
  }

  /**
   * Extends several. A lock whose row a transaction keeps locked is not extended, and does not delay the others: its
   * answer shows the time left, and the holder renews again in time.
   */
  async #renewAll(what: string, requests: readonly RenewRequest[], server: Server): Promise<void> {
    const send = (noWait?: NoWait) =>
      this.#table.renew(what, this.#table.sql.renewAll(requests, noWait), isPassingConflict);
    try {
      await this.#lockedRows.send(server, requests, send);
    } catch (error) {
      if (!isRowLocked(error)) throw error;
      if (requests.length === 1) return;
      for (const request of requests) await this.#renewAll(what, [request], server);
    }
  }

  async #renewOne(what: string, request: RenewRequest, server: Server): Promise<LockRow | undefined> {
    // MySQL guarantees no order of assignments in the form that skips locked rows: the clock in the outcome would be wrong.
    const answer = await this.#lockedRows.send(server, [request], async (noWait) => {
      return noWait === "skip" ? undefined : await this.#table.renew(what, this.#table.sql.renew(request, noWait));
    });
    if (answer === undefined) return await this.#renewUnlocked(what, request);
    const { insertId: outcome } = answer;
    if (outcome === 0n) return undefined;
    const { name, owner } = request;
    const granted = typeof owner === "string" ? this.#hints.granted({ name, owner }) : undefined;
    if (!granted || outcome === READ_THE_ROW) {
      return this.#renewed(request, (await this.#table.liveRows(what, [name]))[0]);
    }
    const now = Number(outcome);
    const { from, add } = request;
    const lockedUntil = add === null ? null : (from === "now" ? now : Number(from)) + add;
    const row = { ...granted, lockedUntil, updatedAt: now, now };
    this.#hints.noteGranted(owner as string, row);
    return row;
  }

  async #renewUnlocked(what: string, request: RenewRequest): Promise<LockRow | undefined> {
    const sql = this.#table.sql.renewAll([request], "skip");
    const { owned } = await this.#table.whenUnlocked(what, async () => {
      const { affectedRows } = await this.#table.renew(what, sql, isPassingConflict);
      const [owned] = await this.#table.liveRows(what, [request.name]);
      return affectedRows > 0 || !owned || !isHeld(request, owned) ? { owned } : undefined;
    });
    return this.#renewed(request, owned);
  }

  /** The row after a renewal; `undefined` when it is gone or of another acquisition. */
  #renewed(request: RenewRequest, owned: OwnedRow | undefined): LockRow | undefined {
    if (!owned || !isHeld(request, owned)) return undefined;
    if (typeof request.owner === "string") this.#hints.noteGranted(request.owner, owned.row);
    return owned.row;
  }
}
