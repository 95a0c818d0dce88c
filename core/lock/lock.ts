import type { Backend } from "../backend.ts";
import { Locked, LockLost, UnsupportedError } from "../errors.ts";
import type { Grant } from "../grant.ts";
import { HeldLock } from "./held_lock.ts";
import { acquire } from "../wait/acquire.ts";
import { extension, type RenewOptions, requireRows, resolveHolder, resolveLockOptions } from "../options/options.ts";
import { knownOf, LockRecord } from "./lock_record.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic, warn } from "../util/runtime.ts";

/**
 * Handles with `autoRenew` that the program dropped: without a handle nothing can release the lock, so its renewal
 * ends, and the lock expires.
 */
const renewedHandles = new FinalizationRegistry<HeldLock>((held) => {
  if (!held.stopRenewing()) return;
  const name = JSON.stringify(held.claim.name);
  warn(
    new Error(
      `Stopped renewing lock ${name}: its handle was garbage collected without a release; want a reference to the ` +
        "handle for as long as the lock is needed, and unlock() or `await using` to end it",
    ),
  );
});

/** A handle lives as long as its signal does: who listens still relies on the lock. */
const handlesOfSignals = new WeakMap<AbortSignal, Lock>();

/**
 * What the holder of a lock has: its record, and the right to renew and release it. Made by `getLock` and its
 * relatives. Disposal (`await using`) releases it.
 *
 * @example
 * ```ts
 * import { connect, getLock, isLocked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * {
 *   await using lock = await getLock("jobs", { backend, expires: 30 });
 *   assert(lock.held);
 *   await lock.renew({ expires: 60 });
 * }
 * assert.equal(await isLocked("jobs", { backend }), false);
 * ```
 */
export class Lock extends LockRecord implements AsyncDisposable {
  #held: HeldLock;

  /** Made by this library from what a backend granted; `renewBy` is in microseconds. */
  constructor(grant: Grant, renewBy?: number) {
    super(grant.row, grant.askedAt);
    this.#held = new HeldLock(grant, knownOf(this), renewBy);
    if (renewBy !== undefined) renewedHandles.register(this, this.#held);
  }

  /** The backend that keeps the lock. */
  get backend(): Backend {
    return this.#held.backend;
  }

  /**
   * Whether this process may believe that it holds the lock right now, without asking: not released, not told of a
   * loss, and the lease has not run out on a clock counted from before it was asked for.
   */
  get held(): boolean {
    return this.#held.held;
  }

  /**
   * Aborts with a `LockLost` when the lock is lost: the server said so, the session it rode on ended, or its time ran
   * out without an answer. An ordinary release does not abort it.
   */
  get signal(): AbortSignal {
    const { signal } = this.#held;
    handlesOfSignals.set(signal, this);
    return signal;
  }

  /**
   * Extends the lock, never shortening it.
   *
   * @returns This lock; with `create`, and only when it was gone, a fresh one with a new token.
   * @throws {LockLost} When it is no longer this handle's.
   * @throws {Locked} With `create`, when another holds the name by now.
   */
  async renew(options: RenewOptions = {}): Promise<Lock> {
    const { backend, claim } = this.#held;
    if (options.backend !== undefined && options.backend !== backend) throw foreignBackend(this.name);
    const request = { ...claim, ...extension(options, knownOf(this).row.lockedUntil) };
    resolveHolder(options);
    requireRows(backend, "renew");
    if (this.#held.held) {
      const renewed = await this.#held.renew(request).catch((error) => this.#unlessLost(error));
      if (renewed?.answer) {
        this.#held.confirm(renewed.answer, renewed.askedAt);
        if (this.#held.held) return this;
      } else this.#held.lose("it was gone when it was to be renewed");
    }
    if (options.create) return await this.#recreate(options);
    throw this.#held.loss ?? new LockLost(this.name, "it was released");
  }

  /** Takes the name anew after it was lost or released. What may be left of the old acquisition is freed first. */
  async #recreate(options: RenewOptions): Promise<Lock> {
    await this.#held.release();
    const { expires, lockedBy = this.lockedBy, lockProcess = this.lockProcess } = options;
    const resolved = resolveLockOptions({ expires, lockedBy, lockProcess, metadata: this.metadata });
    const outcome = await acquire(this.backend, this.name, resolved);
    if (outcome.granted) return new Lock(outcome.grant, this.#held.renewBy && resolved.duration || undefined);
    throw new Locked(this.name, outcome.holder);
  }

  /**
   * Releases the lock if this handle still holds it; it can never release another holder's.
   *
   * @returns `true` if it did, `false` if the lock was already gone.
   * @throws {BackendError} When the database could not answer; the lock is then released or lapses, and the call may be repeated.
   */
  unlock(): Promise<boolean> {
    return this.#held.release();
  }

  /**
   * Reads the lock's times again, which others may have changed by name.
   *
   * @throws {LockLost} When it is no longer this handle's.
   */
  async refresh(): Promise<this> {
    if (this.#held.held) await this.#look();
    if (!this.#held.held) throw this.#held.loss ?? new LockLost(this.name, "it was released");
    return this;
  }

  /** An error with which the lock was lost says no more than that: the session has ended, or the file is gone. */
  #unlessLost(error: unknown): undefined {
    if (this.#held.held) throw error;
  }

  /** Takes in the row of this very acquisition as the server has it; without one the lock is lost. */
  async #look(): Promise<void> {
    const { backend } = this.#held;
    let askedAt = monotonic();
    const list = () => backend.list({ names: [this.name] });
    const rows = await retryOnce(list, () => askedAt = monotonic()).catch((error) => this.#unlessLost(error));
    if (rows === undefined) return;
    const row = rows.find(({ token }) => token === this.token);
    if (row === undefined) return this.#held.lose("the database says that it is gone");
    this.#held.confirm(row, askedAt);
  }

  /** Asks the server whether this handle still holds the lock. Once lost, it stays lost. */
  async verify(): Promise<boolean> {
    const { backend, claim } = this.#held;
    if (!this.#held.held) return false;
    if (backend.verify === undefined) await this.#look();
    else if (!await retryOnce(() => backend.verify!(claim))) {
      this.#held.lose("the database says that it is gone");
    }
    return this.#held.held;
  }

  /**
   * Runs one statement on the caller's own open transaction in the same database: the lock cannot change hands until
   * that transaction ends. The last statement before COMMIT makes the lock a real fence for data in that database.
   *
   * @param client What the transaction runs on: a database handle, or the driver's transaction object.
   * @throws {LockLost} When this acquisition no longer holds the lock.
   * @throws {UnsupportedError} In `session` mode, which has no row to guard.
   */
  async guard(client: unknown): Promise<void> {
    const { backend, claim } = this.#held;
    requireRows(backend, "guard a transaction");
    if (backend.guard === undefined) throw new UnsupportedError(`Cannot guard a transaction on ${backend.engine}`);
    if (this.#held.held && !await backend.guard(claim, client)) {
      this.#held.lose("the database says that it is gone");
    }
    if (!this.#held.held) throw this.#held.loss ?? new LockLost(this.name, "it was released");
  }

  /**
   * Releases the lock, once; afterwards it does nothing. It never throws, so that it cannot hide the error of the
   * block it ends: a release that fails becomes a warning of the process, and the lock lapses.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.unlock();
    } catch (error) {
      warn(error as Error);
    }
  }
}

/** Marks handles, also those that another copy of this package has made. */
const HANDLE = Symbol.for("@lockmgr/lockmgr/Lock");
Object.defineProperty(Lock.prototype, HANDLE, { value: true });

/** Whether something is a handle; one that another copy of this package has made does its own work. */
export function isHandle(value: unknown): value is Lock {
  return value instanceof Lock || (typeof value === "object" && value !== null && HANDLE in value);
}

/** A handle was given together with another backend. */
export function foreignBackend(name: string): TypeError {
  return new TypeError(`Cannot use another backend for lock ${JSON.stringify(name)}: want the one that granted it`);
}
