/**
 * Locks for programs that already have a database: leases with fencing tokens, session locks, and both at once.
 *
 * @example
 * ```ts
 * import { connect, withLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const paid = await withLock("invoice:7", { backend, expires: 30, wait: 5 }, (lock) => {
 *   lock.signal.throwIfAborted(); // aborted as soon as the lock is lost
 *   return `paid under token ${lock.token}`;
 * });
 * assert.match(paid, /^paid under token \d+$/);
 * ```
 *
 * @module
 */
export type * from "./core/backend.ts";
export { connect, type ConnectOptions, describeTarget, schemaOf, setDefaultBackend } from "./core/connect.ts";
export * from "./core/errors.ts";
export type { Grant } from "./core/lock/held_lock.ts";
export { Lock } from "./core/lock/lock.ts";
export {
  LockMgr,
  type LockMgrLockOptions,
  type LockMgrOptions,
  type LockMgrRenewOptions,
} from "./core/verbs/lock_mgr.ts";
export type {
  BackendOptions,
  HolderOptions,
  ListOptions,
  LockOptions,
  RenewOptions,
  SetLockOptions,
} from "./core/options/options.ts";
export { LockRecord } from "./core/lock/lock_record.ts";
export type { LockSetCounts, LockSetResult, LockSetStatus } from "./core/verbs/set_lock.ts";
export type { BackendSettings } from "./core/options/settings.ts";
export {
  cleanLocks,
  closeLocks,
  getLock,
  isLocked,
  listLocks,
  renewLock,
  resetLocks,
  setLock,
  tryLock,
  unlock,
  withLock,
} from "./core/verbs/verbs.ts";
export type { LockBody } from "./core/verbs/with_lock.ts";
