/**
 * The verbs as callers see them: what each promises. What each does is in the file of its name, loaded with the first
 * call: every module that a program loads at its start costs that start half a percent.
 *
 * @module
 */
import { atWork } from "./loading.ts";
import type { Lock } from "../lock/lock.ts";
import type { Backend } from "../backend.ts";
import type { BackendOptions, ListOptions, LockOptions, RenewOptions, SetLockOptions } from "../options/options.ts";
import type { LockRecord } from "../lock/lock_record.ts";
import type { LockSetResult } from "./set_lock.ts";
import type { LockBody } from "./with_lock.ts";

/**
 * Takes a lock, or throws when another holds it for longer than `wait`.
 *
 * @example
 * ```ts
 * import { connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using lock = await getLock("jobs", { backend, expires: 30, wait: 5 });
 * assert.equal(lock.name, "jobs");
 * assert(lock.token > 0n);
 * ```
 *
 * @param name Any string of 1 to 255 Unicode code points without NUL or lone surrogates, compared exactly.
 * @param options `expires` is 600 s and `wait` 0 s unless said.
 * @throws {Locked} When the name is held (`LockTimeout` after a `wait`).
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError | RangeError} For a wrong name or option, before anything is asked of the database.
 */
export function getLock(name: string, options: LockOptions = {}): Promise<Lock> {
  return atWork(({ getLock }) => getLock(name, options));
}

/**
 * Takes a lock if it can be had within `wait`: busy is a value here.
 *
 * @example
 * ```ts
 * import { connect, tryLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using first = await tryLock("jobs", { backend });
 * assert(first?.held);
 * assert.equal(await tryLock("jobs", { backend }), undefined);
 * ```
 *
 * @param name As for {@linkcode getLock}.
 * @param options As for {@linkcode getLock}.
 * @returns The lock, or `undefined` when another holds it.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError | RangeError} For a wrong name or option, before anything is asked of the database.
 */
export function tryLock(name: string, options: LockOptions = {}): Promise<Lock | undefined> {
  return atWork(({ tryLock }) => tryLock(name, options));
}

/**
 * Runs `body` while holding a lock, renewed for as long as it runs.
 *
 * @example
 * ```ts
 * import { connect, setDefaultBackend, withLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * setDefaultBackend(backend);
 * const answer = await withLock("jobs", (lock) => lock.held ? 42 : 0);
 * assert.equal(answer, 42);
 * setDefaultBackend(undefined);
 * ```
 *
 * @param name As for `getLock`.
 * @param body Gets the lock; its `signal` aborts when the lock is lost.
 * @returns What the body returned.
 * @throws {Locked} When the name is held; the body did not run.
 * @throws {LockLost} When the lock was lost while the body ran, even though it returned.
 * @throws {BackendError} When the lock could not be taken (the body did not run), or not be released (it lapses).
 */
export function withLock<T>(name: string, body: LockBody<T>): Promise<T>;
/** As above, with options; `autoRenew` is on unless they say otherwise. */
export function withLock<T>(name: string, options: LockOptions, body: LockBody<T>): Promise<T>;
export function withLock<T>(
  name: string,
  ...rest: [body: LockBody<T>] | [options: LockOptions, body: LockBody<T>]
): Promise<T> {
  return atWork(({ withLock }) => withLock(name, ...rest));
}

/**
 * Gives a lock more time; it never shortens one. By handle it renews only what that handle still holds, by name
 * whoever's lock it is.
 *
 * @example
 * ```ts
 * import { connect, getLock, renewLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend, expires: 10 });
 * await renewLock(lock, { expires: 20 }); // 20 s from now
 * await renewLock(lock, { expires: 20, addTime: true }); // 40 s
 * assert(lock.expiresIn! > 39);
 * await renewLock("jobs", { backend, expires: 5 }); // nearer: left as it is
 * assert((await lock.refresh()).expiresIn! > 39);
 * ```
 *
 * @param lock A handle, or a name.
 * @param options How long, and whether to take a fresh lock when the old one is gone.
 * @returns By handle that lock, or a fresh one that `create` made; by name the record, a `Lock` only if `create` made it.
 * @throws {LockNotFound} By name, when nobody holds it.
 * @throws {LockLost} By handle, when it is no longer that handle's.
 * @throws {Locked} With `create`, when another holds the name by now.
 * @throws {BackendError} When the database could not answer.
 */
export function renewLock(lock: Lock, options?: RenewOptions): Promise<Lock>;
/** By name: renews whoever's lock it is, as in django-lockmgr. */
export function renewLock(name: string, options?: RenewOptions): Promise<LockRecord>;
export function renewLock(lock: Lock | string, options: RenewOptions = {}): Promise<LockRecord> {
  return atWork(({ renewLock }) => renewLock(lock, options));
}

/**
 * Releases a lock: by handle only this handle's own, by name whoever holds it (an administrator's force).
 *
 * @example
 * ```ts
 * import { connect, getLock, unlock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * assert.equal(await unlock(lock), true);
 * assert.equal(await unlock("jobs", { backend }), false);
 * ```
 *
 * @param lock A handle, or a name.
 * @param options The backend, for a name.
 * @returns By handle: `true` if it still held the lock. By name: `true` if there was a lock.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} By name in `session` mode.
 * @throws {TypeError} For a backend that is not the handle's own, or a name that cannot be.
 */
export function unlock(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  return atWork(({ unlock }) => unlock(lock, options));
}

/**
 * Whether a name is held, by anybody. Changes nothing. A handle's own `verify()` answers for that handle.
 *
 * @example
 * ```ts
 * import { connect, getLock, isLocked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend });
 * assert.equal(await isLocked("jobs", { backend }), true);
 * assert.equal(await isLocked("JOBS", { backend }), false);
 * ```
 *
 * @param lock A name, or a handle whose name is meant.
 * @param options The backend, for a name.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError} For a backend that is not the handle's own, or a name that cannot be.
 */
export function isLocked(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  return atWork(({ isLocked }) => isLocked(lock, options));
}

/**
 * Lists the locks that are held, ordered by name. Changes nothing; expired ones are left out unless asked for.
 * In `session` mode it shows what is held through this backend object.
 *
 * @example
 * ```ts
 * import { connect, getLock, listLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs:mail", { backend });
 * await getLock("jobs:sms", { backend });
 * await getLock("other", { backend });
 * const names = (await listLocks({ backend, prefix: "jobs:" })).map(({ name }) => name);
 * assert.deepEqual(names, ["jobs:mail", "jobs:sms"]);
 * ```
 *
 * @param options Which ones, and the backend.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError} For a prefix that is no string.
 */
export function listLocks(options: ListOptions = {}): Promise<LockRecord[]> {
  return atWork(({ listLocks }) => listLocks(options));
}

/**
 * Takes and renews several locks at once. Two callers with the same names, in any order, never deadlock.
 *
 * @example
 * ```ts
 * import { connect, setLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const first = await setLock(["hello", "world"], { backend });
 * assert.equal(first.counts.created, 2);
 * const second = await setLock(["hello", "world"], { backend });
 * assert.equal(second.counts.renewed, 2);
 * assert.deepEqual(second.statuses[0], ["hello", { wasLocked: true, status: "extend", locked: true }]);
 * ```
 *
 * @param names One name or several; a name met again counts as already locked.
 * @param options With `fail: true` it is all or nothing.
 * @throws {LockFail} With `fail`, when a name is held: then nothing at all was changed.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} In `session` mode.
 */
export function setLock(names: string | readonly string[], options: SetLockOptions = {}): Promise<LockSetResult> {
  return atWork(({ setLock }) => setLock(names, options));
}

/**
 * Clears away expired locks; they no longer show with `includeExpired`. Nothing else in this library deletes what has
 * lapsed, and nothing needs it to: an expired lock is free. Tokens go on rising.
 *
 * @example
 * ```ts
 * import { cleanLocks, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * assert.equal(await cleanLocks({ backend }), 0);
 * ```
 *
 * @param options The backend.
 * @returns How many expired locks were cleared away.
 * @throws {BackendError} When the database could not answer.
 */
export function cleanLocks(options: BackendOptions = {}): Promise<number> {
  return atWork(({ cleanLocks }) => cleanLocks(options));
}

/**
 * Removes every lock, whoever holds it: an administrator's last resort. Holders find out at their next renewal.
 *
 * @example
 * ```ts
 * import { connect, getLock, resetLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("hello", { backend });
 * await getLock("world", { backend });
 * assert.equal(await resetLocks({ backend }), 2);
 * ```
 *
 * @param options The backend.
 * @returns How many locks were removed.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} In `session` mode.
 */
export function resetLocks(options: BackendOptions = {}): Promise<number> {
  return atWork(({ resetLocks }) => resetLocks(options));
}

/**
 * Ends the use of a backend: waiters get a `BackendError`, and what its handles hold, or requests under way are still
 * granted, is released within 2 s. For authors of a `Backend`: its `[Symbol.asyncDispose]` is a call of this. Every
 * further call returns the same promise.
 *
 * @example
 * ```ts
 * import { type Backend, closeLocks, connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using store = await connect("sqlite::memory:");
 * const backend: Backend = {
 *   engine: "my-store",
 *   mode: "lease",
 *   acquire: (requests, options) => store.acquire(requests, options),
 *   renew: (requests) => store.renew(requests),
 *   release: (targets) => store.release(targets),
 *   list: (filter) => store.list(filter),
 *   clean: (scope) => store.clean(scope),
 *   [Symbol.asyncDispose]: () => closeLocks(backend, () => Promise.resolve()),
 * };
 * const lock = await getLock("jobs", { backend });
 * await backend[Symbol.asyncDispose]();
 * assert.equal(lock.held, false);
 * ```
 *
 * @param backend The backend.
 * @param shut Closes what the backend has opened, once its locks are released.
 */
export function closeLocks(backend: Backend, shut: () => Promise<void>): Promise<void> {
  return atWork(({ closeLocks }) => closeLocks(backend, shut));
}
