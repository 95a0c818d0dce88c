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
export { connect, describeTarget, registerEngine, schemaOf, setDefaultBackend } from "./core/connect.ts";
export type { ConnectOptions, Engine } from "./core/engine.ts";
export * from "./core/errors.ts";
export type { LockLoss, LockTrace } from "./core/events/events.ts";
export { escapeInvisible } from "./core/events/invisible.ts";
export { printEvents } from "./core/events/print_events.ts";
export type { Grant } from "./core/grant.ts";
export { Lock } from "./core/lock/lock.ts";
export { LockRecord } from "./core/lock/lock_record.ts";
export type * from "./core/options/option_types.ts";
export type { BackendSettings } from "./core/options/settings.ts";
export { adoptLock } from "./core/verbs/adopt_lock.ts";
export { cleanLocks } from "./core/verbs/clean_locks.ts";
export { getLock, tryLock } from "./core/verbs/get_lock.ts";
export { getLocks, LockSet, type LockSetRenewOptions } from "./core/verbs/get_locks.ts";
export { isLocked } from "./core/verbs/is_locked.ts";
export { lead } from "./core/verbs/lead.ts";
export { listLocks } from "./core/verbs/list_locks.ts";
export { LockMgr } from "./core/verbs/lock_mgr.ts";
export { renewLock } from "./core/verbs/renew_lock.ts";
export { resetLocks } from "./core/verbs/reset_locks.ts";
export { type LockSetCounts, type LockSetResult, type LockSetStatus, setLock } from "./core/verbs/set_lock.ts";
export { unlock } from "./core/verbs/unlock.ts";
export { type LockChange, watchLocks } from "./core/verbs/watch_locks.ts";
export { type LockBody, withLock } from "./core/verbs/with_lock.ts";
export { closeLocks } from "./core/wait/close_locks.ts";
