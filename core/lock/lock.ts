import type { Backend, GuardClient } from "../backend.ts";
import { Locked, LockLost, UnsupportedError } from "../errors.ts";
import { quoted } from "../events/invisible.ts";
import type { Grant } from "../grant.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import {
  extension,
  type RenewOptions,
  requireAdoption,
  requireRows,
  resolveHolder,
  resolveLockOptions,
} from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic, warn } from "../util/runtime.ts";
import { acquire, renewalOf } from "../wait/acquire.ts";
import { detachedText } from "./detached.ts";
import { HeldLock } from "./held_lock.ts";
import { knownOf, LockRecord } from "./lock_record.ts";

/** Ends the automatic renewal of a handle. */
export let stopRenewing: (lock: Lock) => void;
/** Lets the release of a handle free the name at once, whatever `holdAtLeast` is. */
export let dropMinimum: (lock: Lock) => void;

/** A handle lives as long as its signal does: a program that listens still relies on the lock. */
const handlesOfSignals = new WeakMap<AbortSignal, Lock>();

/**
 * The holder's handle of a lock: its record, and the right to renew and release it. `getLock` and its relatives make
 * it. Disposal (`await using`) releases the lock.
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

  static {
    stopRenewing = (lock) => void lock.#held.stopRenewing();
    dropMinimum = (lock) => lock.#held.dropMinimum();
  }

  /** Makes the handle of a grant; `renewBy` is the length of each automatic renewal in microseconds. */
  constructor(grant: Grant, renewBy?: number) {
    super(grant.row, grant.askedAt);
    this.#held = new HeldLock(grant, knownOf(this), renewBy);
    if (renewBy !== undefined) this.#held.renewFor(this);
  }

  /** The backend that keeps the lock. */
  get backend(): Backend {
    return this.#held.backend;
  }

  /**
   * Whether this process may act as the holder, as far as it knows without asking: the lock was neither released nor
   * lost, and the lease has not expired on a monotonic clock that started before the lock was asked for.
   */
  get held(): boolean {
    return this.#held.held;
  }

  /**
   * Aborts with a `LockLost` when the lock is lost: the server said so, the session that carried it ended, or the lease
   * expired without an answer. `detach` aborts it too, an ordinary release does not.
   */
  get signal(): AbortSignal {
    const { signal } = this.#held;
    handlesOfSignals.set(signal, this);
    return signal;
  }

  /**
   * Aborts once when another client waits for the name, as the newest answer of the database says: with `autoRenew` no
   * later than the next renewal. The place to resign. Never aborts on a backend without a queue.
   */
  get wanted(): AbortSignal {
    const { wanted } = this.#held;
    handlesOfSignals.set(wanted, this);
    return wanted;
  }

  /**
   * Extends the lock, never shortening it.
   *
   * @returns This lock; with `create`, and only when it was gone, a fresh one with a new token.
   * @throws {LockLost} When the lock is no longer this handle's.
   * @throws {Locked} With `create`, when another client holds the name.
   */
  async renew(options: RenewOptions = {}): Promise<Lock> {
    checkVerbOptions("renewLock", options);
    const { backend, claim } = this.#held;
    requireOwnBackend(this, options);
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
    throw this.#loss();
  }

  /** Acquires the name again after it was lost or released, once the old acquisition is released for certain. */
  async #recreate(options: RenewOptions): Promise<Lock> {
    await this.#held.release();
    const { expires, lockedBy = this.lockedBy, lockProcess = this.lockProcess } = options;
    const { metadata, limit } = this;
    const { keep } = this.#held.claim;
    const autoRenew = this.#held.renewBy !== undefined;
    const resolved = { ...resolveLockOptions({ expires, lockedBy, lockProcess, metadata, autoRenew }), limit, keep };
    const outcome = await acquire(this.backend, this.name, resolved);
    if (outcome.granted) return new Lock(outcome.grant, renewalOf(this.backend, resolved));
    throw new Locked(this.name, outcome.holder);
  }

  /**
   * Releases the lock if this handle still holds it; it never releases another client's lock.
   *
   * @returns `true` if it did, `false` if the lock was already gone.
   * @throws {BackendError} When the database could not answer; this process goes on trying to release the lock until it
   * would expire, for ten minutes at most, and the call may be repeated.
   */
  unlock(): Promise<boolean> {
    return this.#held.release();
  }

  /**
   * Ends this handle without a release, and returns a text with which `adoptLock` in any process takes the lock over, once:
   * with its token, under a new owner. Without an adoption the lock expires. `held` is `false` at once, and `signal` aborts,
   * since the token does not tell this holder from the next. Every process that has the text can adopt the lock: treat it as a
   * password. It consists of letters, digits and `-_.!~*'()%`.
   *
   * @throws {LockLost} When the lock is no longer this handle's.
   * @throws {UnsupportedError} In `session` and `hybrid` mode, where the lock ends with this process's session.
   */
  detach(): string {
    requireAdoption(this.#held.backend, `detach lock ${JSON.stringify(this.name)}`);
    const claim = this.#held.detach();
    if (claim === undefined) throw this.#loss();
    return detachedText(claim);
  }

  /**
   * Reads the lock's times again, which another client may have changed by name.
   *
   * @throws {LockLost} When the lock is no longer this handle's.
   */
  async refresh(): Promise<this> {
    if (this.#held.held) await this.#readAgain();
    if (!this.#held.held) throw this.#loss();
    return this;
  }

  /** The error that this handle does not hold the lock any more. */
  #loss(): LockLost {
    return this.#held.loss ?? new LockLost(this.name, "it was released");
  }

  /** Drops an error that came with the loss of the lock, such as the end of its session: the loss says enough. */
  #unlessLost(error: unknown): undefined {
    if (this.#held.held) throw error;
  }

  /** Takes in the row of this acquisition as the server has it; without one the lock is lost. */
  async #readAgain(): Promise<void> {
    const { backend } = this.#held;
    let askedAt = monotonic();
    const list = () => backend.list({ names: [this.name] });
    const rows = await retryOnce(list, () => askedAt = monotonic()).catch((error) => this.#unlessLost(error));
    if (rows === undefined) return;
    const row = rows.find(({ token }) => token === this.token);
    if (row) this.#held.confirm(row, askedAt);
    else this.#held.lose("the database says that it is gone");
  }

  /** Asks the server whether this handle still holds the lock. Once lost, it stays lost. */
  async verify(): Promise<boolean> {
    const { backend, claim } = this.#held;
    if (!this.#held.held) return false;
    if (backend.verify === undefined) await this.#readAgain();
    else if (!await retryOnce(() => backend.verify!(claim))) this.#held.lose("the database says that it is gone");
    return this.#held.held;
  }

  /**
   * Runs one statement on the caller's own open transaction in the same database: the lock cannot change hands until
   * that transaction ends. As the last statement before COMMIT it makes the lock a real fence for data in that database.
   *
   * @param client What the transaction runs on: a database handle, the driver's transaction or connection, or a function
   * `(text, parameters) => Promise<rows>` that sends on it.
   * @throws {LockLost} When this acquisition no longer holds the lock.
   * @throws {TypeError} When no transaction is open on `client`, as on a pool.
   * @throws {UnsupportedError} In `session` mode, which has no row to guard.
   */
  async guard(client: GuardClient): Promise<void> {
    const { backend, claim } = this.#held;
    requireRows(backend, "guard a transaction");
    if (backend.guard === undefined) throw new UnsupportedError(`Cannot guard a transaction on ${backend.engine}`);
    if (this.#held.held && !await backend.guard(claim, client)) this.#held.lose("the database says that it is gone");
    if (!this.#held.held) throw this.#loss();
  }

  /**
   * `guard` for a driver whose transactions are synchronous functions, such as `database.transaction(() => …)` of
   * better-sqlite3 and bun:sqlite: those commit before a promise is answered.
   *
   * @param handle The SQLite database handle on which the transaction is open.
   * @throws {LockLost} When this acquisition no longer holds the lock.
   * @throws {TypeError} When no transaction is open on `handle`.
   * @throws {UnsupportedError} On a server, whose drivers are asynchronous.
   *
   * @example
   * ```ts
   * import { getLock } from "@lockmgr/lockmgr";
   * import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
   * import { DatabaseSync } from "node:sqlite";
   *
   * using database = new DatabaseSync(":memory:");
   * await using backend = await sqliteBackend(database);
   * await using lock = await getLock("accounts", { backend });
   * database.exec("BEGIN IMMEDIATE");
   * lock.guardSync(database);
   * database.exec("COMMIT");
   * ```
   */
  guardSync(handle: unknown): void {
    const { backend, claim } = this.#held;
    requireRows(backend, "guard a transaction");
    if (backend.guardSync === undefined) {
      throw new UnsupportedError(`Cannot guard a transaction at once on ${backend.engine}: want guard(client)`);
    }
    if (this.#held.held && !backend.guardSync(claim, handle)) this.#held.lose("the database says that it is gone");
    if (!this.#held.held) throw this.#loss();
  }

  /**
   * Releases the lock, once; afterwards it does nothing. It never throws, because that would hide the error of the block
   * that it ends: a release that fails becomes a warning of the process, which goes on trying.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.unlock();
    } catch (error) {
      warn(error as Error);
    }
  }
}

/** Marks handles, also those of another copy of this package. */
const HANDLE = Symbol.for("@lockmgr/lockmgr/Lock");
Object.defineProperty(Lock.prototype, HANDLE, { value: true });

/** Whether a value is a handle, also of another copy of this package. */
export function isHandle(value: unknown): value is Lock {
  return value instanceof Lock || (typeof value === "object" && value !== null && HANDLE in value);
}

/** Refuses a backend that was passed beside a handle and is not the handle's own, with a `TypeError`. */
export function requireOwnBackend(lock: Lock, { backend }: { readonly backend?: Backend }): void {
  if (backend === undefined || backend === lock.backend) return;
  throw new TypeError(`Cannot use another backend for lock ${quoted(lock.name)}: want the one that granted it`);
}
