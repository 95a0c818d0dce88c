/**
 * A backend over a map in this process: the whole contract in its simplest form. Read it beside docs/backends.md.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, Backend, ListFilter, LockRef, LockRow } from "@lockmgr/lockmgr";
import { Buffer } from "node:buffer";
import { BackendError, closeLocks, type RenewRequest } from "@lockmgr/lockmgr";

type Row = Omit<LockRow, "now"> & { readonly owner: string };

/** A store that several clients share, as processes share a database. */
export class MemoryStore {
  readonly rows = new Map<string, Row>();
  #token = 0n;

  /** The clock of the store (µs): monotonic, so that no lease is freed or kept wrongly when the wall clock is set. */
  now(): number {
    return Math.round((performance.timeOrigin + performance.now()) * 1e3);
  }

  /** A token is never used again, also when the row is gone. */
  nextToken(): bigint {
    return ++this.#token;
  }
}

class MemoryBackend implements Backend {
  readonly engine = "memory";
  readonly mode = "lease";
  readonly #store: MemoryStore;
  #closed = false;

  constructor(store: MemoryStore) {
    this.#store = store;
  }

  acquire(requests: readonly AcquireRequest[], { allOrNothing = false } = {}): Promise<AcquireAnswer[]> {
    return this.#atOnce((now) => {
      const others = requests.map(({ name, owner }) => {
        const row = this.#live({ name, owner: null }, now);
        return row && row.owner !== owner ? this.#answer(row, now) : undefined;
      });
      const refused = allOrNothing && others.some((holder) => holder !== undefined);
      if (refused) return others.map((holder) => ({ granted: false, holder }));
      return requests.map((request) => this.#acquire(request, now));
    });
  }

  #acquire({ name, owner, duration, lockedBy, lockProcess, metadata }: AcquireRequest, now: number): AcquireAnswer {
    const held = this.#live({ name, owner: null }, now);
    if (held) { // its own after a lost answer, or that of another owner
      const row = this.#answer(held, now);
      return held.owner === owner ? { granted: true, row } : { granted: false, holder: row };
    }
    const lockedUntil = duration === null ? null : now + duration;
    const times = { lockedUntil, createdAt: now, updatedAt: now };
    const row = { name, owner, token: this.#store.nextToken(), lockedBy, lockProcess, metadata, ...times };
    this.#store.rows.set(name, row);
    return { granted: true, row: this.#answer(row, now) };
  }

  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
    return this.#atOnce((now) =>
      requests.map(({ from, add, ...lock }) => {
        const row = this.#live(lock, now);
        if (row === undefined || row.lockedUntil === null) return row && this.#answer(row, now);
        const start = from === "now" ? now : from === "expiry" ? row.lockedUntil : from;
        const lockedUntil = add === null ? null : Math.max(row.lockedUntil, start + add); // never shorter
        const renewed = { ...row, lockedUntil, updatedAt: now };
        this.#store.rows.set(row.name, renewed);
        return this.#answer(renewed, now);
      })
    );
  }

  release(locks: readonly LockRef[]): Promise<boolean[]> {
    return this.#atOnce((now) =>
      locks.map((lock) => this.#live(lock, now) !== undefined && this.#store.rows.delete(lock.name))
    );
  }

  list({ names, prefix = "", includeExpired = false }: ListFilter): Promise<LockRow[]> {
    return this.#atOnce((now) =>
      [...this.#store.rows.values()]
        .filter(({ name }) => name.startsWith(prefix) && (names?.includes(name) ?? true))
        .filter((row) => includeExpired || isLive(row, now))
        .sort((one, two) => Buffer.compare(Buffer.from(one.name), Buffer.from(two.name))) // by code point
        .map((row) => this.#answer(row, now))
    );
  }

  clean(scope: "expired" | "all"): Promise<number> {
    return this.#atOnce((now) => {
      const { rows } = this.#store;
      const removed = [...rows.values()].filter((row) => scope === "all" || !isLive(row, now));
      for (const { name } of removed) rows.delete(name);
      return removed.length;
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    // deno-lint-ignore require-await -- the interface is asynchronous, a map is not
    return closeLocks(this, async () => void (this.#closed = true));
  }

  /** The row of a lock that is held: by this owner, under this token, or for `null` by any. */
  #live({ name, owner }: LockRef, now: number): Row | undefined {
    const row = this.#store.rows.get(name);
    if (row === undefined || !isLive(row, now)) return undefined;
    return owner === null || owner === row.owner || owner === row.token ? row : undefined;
  }

  #answer({ owner: _, ...row }: Row, now: number): LockRow {
    return { ...row, now };
  }

  /** Does all of a request at one instant of the store's clock. */
  // deno-lint-ignore require-await -- an error must reject
  async #atOnce<T>(work: (now: number) => T): Promise<T> {
    if (this.#closed) throw new BackendError("Cannot use the store: the backend was disposed of");
    return work(this.#store.now());
  }
}

function isLive({ lockedUntil }: Row, now: number): boolean {
  return lockedUntil === null || lockedUntil > now;
}

/** Opens a client of a store. */
export function memoryBackend(store: MemoryStore): Backend {
  return new MemoryBackend(store);
}
