/**
 * A locking provider for Medusa 2 (`ILockingProvider`) on a backend of lockmgr.
 *
 * In a Medusa project, the module exports it:
 *
 *     export default ModuleProvider(Modules.LOCKING, { services: [LockmgrLockingProvider] });
 *
 * @module
 */
import { type Backend, getLocks, listLocks, type ListOptions, Locked, unlock } from "@lockmgr/lockmgr";
import type { ILockingProvider } from "@medusajs/types";

const PREFIX = "medusa:";
/** The owner of a lock that any caller may release. */
const ANY_OWNER = "*";
/** Seconds to wait for the locks of a job, and until they expire if the process dies: Medusa's own defaults. */
const JOB = { timeout: 5, expire: 60 };

interface Owner {
  ownerId?: string | null;
}

function namesOf(keys: string | string[]): string[] {
  return [...new Set([keys].flat())].map((key) => PREFIX + key);
}

/** Keeps Medusa's locks as leases. An owner of Medusa is an owner here, so another process may release its locks. */
export class LockmgrLockingProvider implements ILockingProvider {
  static identifier = "lockmgr";
  readonly #backend: Backend;

  constructor(_container: unknown, { backend }: { backend: Backend }) {
    this.#backend = backend;
  }

  /** The locks are renewed while the job runs; its signal aborts when one of them is lost. */
  async execute<T>(
    keys: string | string[],
    job: (signal?: AbortSignal) => Promise<T>,
    { timeout = JOB.timeout, expire = JOB.expire }: { timeout?: number; expire?: number } = {},
  ): Promise<T> {
    const options = { backend: this.#backend, wait: timeout, expires: expire, autoRenew: true };
    await using locks = await getLocks(namesOf(keys), options);
    const result = await job(locks.signal);
    locks.signal.throwIfAborted(); // a result without the lock is none
    return result;
  }

  /** All keys or none. The locks of the same owner are extended. */
  async acquire(keys: string | string[], { ownerId, expire }: Owner & { expire?: number } = {}): Promise<void> {
    const duration = expire ? expire * 1e6 : null;
    const owner = ownerId ?? crypto.randomUUID();
    const names = namesOf(keys);
    const renewed = await this.#backend.renew(names.map((name) => ({ name, owner, from: "now", add: duration })));
    const missing = names.filter((_, index) => renewed[index] === undefined);
    if (missing.length === 0) return;
    const holder = { owner, duration, lockedBy: ownerId ?? ANY_OWNER, lockProcess: null, metadata: null, limit: 1 };
    const answers = await this.#backend.acquire(missing.map((name) => ({ name, ...holder })), { allOrNothing: true });
    if (answers.every(({ granted }) => granted)) return;
    const held = answers.findIndex((answer) => !answer.granted && answer.holder); // free names have none
    throw new Locked(missing[Math.max(held, 0)]);
  }

  release(keys: string | string[], { ownerId }: Owner = {}): Promise<boolean> {
    return this.#release({ names: namesOf(keys) }, (lockedBy) => lockedBy === ANY_OWNER || lockedBy === ownerId);
  }

  async releaseAll({ ownerId }: Owner = {}): Promise<void> {
    await this.#release({ prefix: PREFIX }, (lockedBy) => ownerId == null || lockedBy === ownerId);
  }

  /** Releases the locks of some owners; returns whether it released every name that was asked for. */
  async #release(filter: ListOptions, isMeant: (lockedBy: string) => boolean): Promise<boolean> {
    const backend = this.#backend;
    const records = (await listLocks({ ...filter, backend })).filter(({ lockedBy }) => isMeant(lockedBy));
    const released = await Promise.all(records.map((record) => unlock(record, { backend })));
    return released.length >= (filter.names?.length ?? 0) && released.every(Boolean);
  }
}
