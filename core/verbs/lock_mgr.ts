import { LockNotFound } from "../errors.ts";
import { isHandle, type Lock } from "../lock/lock.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import {
  checkName,
  DEFAULT_EXPIRES_S,
  extension,
  type LockMgrLockOptions,
  type LockMgrOptions,
  type LockMgrRenewOptions,
  type LockOptions,
  resolveLockOptions,
} from "../options/options.ts";
import { getLock, tryLock } from "./get_lock.ts";

/** The default of `LockMgr.renew`, as in django-lockmgr. */
const DEFAULT_RENEWAL_S = 120;

/**
 * A scope that acquires locks and releases all of them when it ends.
 *
 * @example
 * ```ts
 * import { connect, isLocked, LockMgr } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * {
 *   await using mgr = await LockMgr.acquire("mylock", { backend, expires: 60 });
 *   if (await mgr.tryLock("otherlock")) await mgr.unlock("otherlock");
 *   await mgr.renew(undefined, { expires: 30 }); // 30 s more for the main lock
 *   assert(mgr.mainLock!.expiresIn! > 89);
 * }
 * assert.equal(await isLocked("mylock", { backend }), false);
 * ```
 */
export class LockMgr implements AsyncDisposable {
  /** The name of the main lock. */
  readonly name: string;
  /** Seconds until its locks expire; `null` is never. */
  readonly expires: number | null;
  /** The holder's name of its locks. */
  readonly lockedBy: string;
  /** A number for people, such as a process id. */
  readonly lockProcess: number | null;
  /** Seconds to wait for a lock. */
  readonly wait: number;

  #options: LockMgrOptions;
  #mainLock: Lock | null = null;
  #locks: Lock[] = [];
  #lost: AbortController | undefined;
  #scope = 0;

  /**
   * Does no I/O: `acquire()` acquires the main lock.
   *
   * @throws {TypeError | RangeError} For an invalid name or option.
   */
  constructor(name: string, options: LockMgrOptions = {}) {
    checkVerbOptions("LockMgr", options);
    checkName(name);
    const resolved = resolveLockOptions(options);
    this.name = name;
    this.expires = options.expires === undefined ? DEFAULT_EXPIRES_S : options.expires;
    this.lockedBy = resolved.lockedBy;
    this.lockProcess = resolved.lockProcess;
    this.wait = resolved.wait;
    this.#options = { ...options };
  }

  /**
   * Makes a manager and acquires its main lock.
   *
   * @throws {Locked} When the name is held.
   */
  static async acquire(name: string, options: LockMgrOptions = {}): Promise<LockMgr> {
    return await new LockMgr(name, options).acquire();
  }

  /** The main lock; `null` before it is acquired and after it is released. */
  get mainLock(): Lock | null {
    return this.#mainLock;
  }

  /** The locks that it holds, in the order in which they were acquired. */
  get locks(): readonly Lock[] {
    return [...this.#locks];
  }

  /** Aborts with a `LockLost` when any of its locks is lost. */
  get signal(): AbortSignal {
    if (this.#lost === undefined) {
      this.#lost = new AbortController();
      for (const lock of this.#locks) this.#listen(lock);
    }
    for (const { signal } of this.#locks) void signal; // each looks whether its lease has expired
    return this.#lost.signal;
  }

  /**
   * Acquires the main lock.
   *
   * @param options As for `lock`, for this acquisition alone.
   * @throws {Locked} When the name is held, also by this manager itself.
   */
  async acquire(options: LockMgrLockOptions = {}): Promise<this> {
    this.#mainLock = await this.lock(this.name, options);
    return this;
  }

  /**
   * Acquires a further lock, which is released with the others.
   *
   * @throws {Locked} When the name is held.
   */
  async lock(name: string, options: LockMgrLockOptions = {}): Promise<Lock> {
    checkVerbOptions("LockMgr.lock", options);
    const scope = this.#scope;
    return await this.#adopt(await getLock(name, this.#merge(options)), scope);
  }

  /**
   * Acquires a further lock if it is free: django-lockmgr's `lock(…, ret=True)`.
   *
   * @returns The lock, or `undefined` when it is held.
   */
  async tryLock(name: string, options: LockMgrLockOptions = {}): Promise<Lock | undefined> {
    checkVerbOptions("LockMgr.lock", options);
    const scope = this.#scope;
    const lock = await tryLock(name, this.#merge(options));
    return lock && await this.#adopt(lock, scope);
  }

  /**
   * Releases one of its locks: the main lock, a handle, or this manager's lock of a name; never another holder's lock.
   *
   * @returns `true` if it was still held.
   */
  async unlock(lock: Lock | string | null = this.#mainLock): Promise<boolean> {
    const own = this.#find(lock);
    if (!own) return false;
    const released = await own.unlock();
    this.#forget(own);
    return released;
  }

  /**
   * Extends a lock, or acquires a fresh one when it is gone, which is then one of its own.
   *
   * @throws {Locked} When another client holds the name, whose lock is never extended.
   * @throws {LockNotFound} With `create: false`, when this manager no longer holds it.
   */
  async renew(lock: Lock | string | null = this.#mainLock, options: LockMgrRenewOptions = {}): Promise<Lock> {
    checkVerbOptions("LockMgr.renew", options);
    const scope = this.#scope;
    const { expires = DEFAULT_RENEWAL_S, addTime = true, create = true, ...holder } = options;
    const name = typeof lock === "string" ? lock : lock?.name ?? this.name;
    const own = this.#find(lock);
    const { lockedBy = this.lockedBy, lockProcess = this.lockProcess } = holder;
    if (own) {
      const renewed = await own.renew({ expires, addTime, create, lockedBy, lockProcess });
      if (renewed === own) return own;
      const wasMain = this.#mainLock === own;
      this.#forget(own);
      await this.#adopt(renewed, scope);
      if (wasMain) this.#mainLock = renewed;
      return renewed;
    }
    checkName(name);
    extension({ expires });
    if (!create) throw new LockNotFound(name);
    const fresh = await getLock(name, { ...this.#merge({ expires, wait: 0 }), lockedBy, lockProcess });
    await this.#adopt(fresh, scope);
    if (name === this.name && this.#mainLock === null) this.#mainLock = fresh;
    return fresh;
  }

  /** Releases all locks that it still holds, the last first. A failed release becomes a warning of the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#scope++;
    const locks = this.#locks.reverse().splice(0);
    this.#lost = undefined; // locks that are acquired from now on have another signal
    for (const lock of locks) await lock[Symbol.asyncDispose]();
    this.#mainLock = null;
  }

  /** Returns the options of one lock. */
  #merge(options: LockMgrLockOptions): LockOptions {
    const { expires = this.#options.expires, wait = this.wait } = options;
    return { ...this.#options, lockedBy: this.lockedBy, expires, wait };
  }

  /** Adds a lock; one that was granted after the scope ended is released at once. */
  async #adopt(lock: Lock, scope: number): Promise<Lock> {
    if (scope !== this.#scope) {
      await lock[Symbol.asyncDispose]();
      throw new LockNotFound(lock.name, `Cannot keep lock ${JSON.stringify(lock.name)}: its manager was disposed of`);
    }
    this.#locks.push(lock);
    if (this.#lost) this.#listen(lock);
    return lock;
  }

  /** Returns the lock that a caller means: its handle, or by name the last of this manager's. */
  #find(lock: Lock | string | null): Lock | undefined {
    if (lock === null || isHandle(lock)) return lock ?? undefined;
    if (typeof lock === "string") return this.#locks.findLast(({ name }) => name === lock);
    const wanted = "a name, a handle, or undefined for the main lock; options come second";
    throw new TypeError(`Cannot use a value of type ${typeof lock} as a lock of a manager: want ${wanted}`);
  }

  #forget(lock: Lock): void {
    const index = this.#locks.indexOf(lock);
    if (index >= 0) this.#locks.splice(index, 1);
    if (this.#mainLock === lock) this.#mainLock = null;
  }

  #listen({ signal }: Lock): void {
    const lost = this.#lost!;
    const abort = () => lost.abort(signal.reason);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  }
}
