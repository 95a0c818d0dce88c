import type { LockRow, RenewRequest } from "../../core/backend.ts";
import { chunks, namesOf, sorted } from "./batches.ts";
import type { LockTable } from "./lock_table.ts";
import type { Memory } from "./memory.ts";
import type { OwnedRow } from "./rows.ts";
import { READ_THE_ROW } from "./taking.ts";

/** Extends locks: one in a statement, several in a batch. */
export class Renewing {
  readonly #table: LockTable;
  readonly #memory: Memory;

  constructor(table: LockTable, memory: Memory) {
    this.#table = table;
    this.#memory = memory;
  }

  /** Extends each lock that is still live. */
  async renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    const what = `renew ${namesOf(requests)}`;
    await this.#table.ready(what);
    if (requests.length === 1) return [await this.#renewOne(what, requests[0])];
    const groups = Map.groupBy(sorted(requests), ({ from, add }) => `${from} ${add}`);
    const rows = new Map<string, OwnedRow>();
    for (const some of [...groups.values()].flatMap(chunks)) {
      await this.#table.run(what, this.#table.sql.renewAll(some));
      for (const owned of await this.#table.peekAll(what, some.map(({ name }) => name))) {
        rows.set(owned.row.name, owned);
      }
    }
    return requests.map(({ name, owner }) => this.#renewed(owner, rows.get(name)));
  }

  async #renewOne(what: string, request: RenewRequest): Promise<LockRow | undefined> {
    const { insertId: told } = await this.#table.run(what, this.#table.sql.renew(request));
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

  /** The row after a renewal; another's by now, or none, means that it is gone. */
  #renewed(owner: string | null, owned: OwnedRow | undefined): LockRow | undefined {
    if (!owned || (owner !== null && owned.owner !== owner)) return undefined;
    if (owner !== null) this.#memory.noteGranted(owner, owned.row);
    return owned.row;
  }
}
