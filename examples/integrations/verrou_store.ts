/**
 * A store for Verrou (`@verrou/core`, also as AdonisJS Lock) on a backend of lockmgr: Verrou's own suite passes on it.
 *
 * @module
 */
import { type Backend, isLocked, unlock } from "@lockmgr/lockmgr";
import { E_LOCK_NOT_OWNED } from "@verrou/core";
import type { LockStore } from "@verrou/core/types";

/** Keeps Verrou's locks as leases. An owner of Verrou is an owner here, so a lock can be restored in another process. */
export class LockmgrStore implements LockStore {
  readonly #backend: Backend;
  /** The last attempt for each name: Verrou expects that the first caller of a process comes first. */
  readonly #saving = new Map<string, Promise<boolean>>();

  constructor(backend: Backend) {
    this.#backend = backend;
  }

  async save(name: string, owner: string, ttl: number | null): Promise<boolean> {
    const before = this.#saving.get(name) ?? Promise.resolve(false);
    const saving = before.catch(() => {}).then(() => this.#save(name, owner, ttl));
    this.#saving.set(name, saving);
    try {
      return await saving;
    } finally {
      if (this.#saving.get(name) === saving) this.#saving.delete(name);
    }
  }

  async #save(name: string, owner: string, ttl: number | null): Promise<boolean> {
    // To an owner that has the lock, lockmgr would grant it again, as after a lost answer. Verrou wants "held".
    if (await this.exists(name)) return false;
    const duration = ttl === null ? null : ttl * 1e3;
    const holder = { lockedBy: "verrou", lockProcess: null, metadata: null, limit: 1 };
    const [{ granted }] = await this.#backend.acquire([{ name, owner, duration, ...holder }]);
    return granted;
  }

  async delete(name: string, owner: string): Promise<void> {
    const [released] = await this.#backend.release([{ name, owner }]);
    if (!released) throw new E_LOCK_NOT_OWNED();
  }

  async extend(name: string, owner: string, duration: number): Promise<void> {
    const [row] = await this.#backend.renew([{ name, owner, from: "now", add: duration * 1e3 }]);
    if (row === undefined) throw new E_LOCK_NOT_OWNED();
  }

  async forceDelete(name: string): Promise<void> {
    await unlock(name, { backend: this.#backend });
  }

  exists(name: string): Promise<boolean> {
    return isLocked(name, { backend: this.#backend });
  }
}
