import { acquire } from "../wait/acquire.ts";
import { backendOf } from "../connect.ts";
import { Locked, LockLost, LockNotFound } from "../errors.ts";
import { traceRenewals } from "../events/channels.ts";
import { isHandle, Lock } from "../lock/lock.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import {
  extension,
  lockRefOf,
  type RenewOptions,
  requireRows,
  resolveHolder,
  resolveLockOptions,
} from "../options/options.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";

/**
 * Extends a lock; it never shortens one. By handle it renews only what that handle still holds, by record only the
 * acquisition with that token, by name the lock of any holder.
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
 * await renewLock("jobs", { backend, expires: 5 }); // earlier: unchanged
 * assert((await lock.refresh()).expiresIn! > 39);
 * ```
 *
 * @param lock A handle; a record, or its name and token; or a name.
 * @param options How long, and whether to acquire a fresh lock when the old one is gone.
 * @returns By handle that lock, or a fresh one that `create` made; by record or name a new record, a `Lock` only if
 * `create` made it.
 * @throws {LockNotFound} By name, when no client holds it.
 * @throws {LockLost} By handle or record, when that acquisition no longer holds the lock.
 * @throws {Locked} With `create`, when another client holds the name.
 * @throws {BackendError} When the database could not answer.
 */
export function renewLock(lock: Lock, options?: RenewOptions): Promise<Lock>;
/** By record, or its name and token: renews only that acquisition. */
export function renewLock(lock: Pick<LockRecord, "name" | "token">, options?: RenewOptions): Promise<LockRecord>;
/** By name: renews the lock of any holder, as in django-lockmgr. */
export function renewLock(name: string, options?: RenewOptions): Promise<LockRecord>;
export async function renewLock(
  lock: Lock | Pick<LockRecord, "name" | "token"> | string,
  options: RenewOptions = {},
): Promise<LockRecord> {
  if (isHandle(lock)) return await lock.renew(options);
  checkVerbOptions("renewLock", options);
  const { name, owner } = lockRefOf(lock);
  const more = extension(options);
  resolveHolder(options);
  const backend = await backendOf(options);
  requireRows(backend, "renew");
  const askedAt = monotonic();
  const request = { name, owner, ...more };
  // With `addTime` nothing is repeated: a request whose answer was lost may have added the time already.
  const renew = () => backend.renew([request]);
  const [row] = await traceRenewals(backend, [name], () => options.addTime ? renew() : retryOnce(renew));
  if (row) return new LockRecord(row, askedAt);
  if (!options.create) {
    throw owner === null ? new LockNotFound(name) : new LockLost(name, `the acquisition with token ${owner} has ended`);
  }
  const { expires, lockedBy, lockProcess } = options;
  const outcome = await acquire(backend, name, resolveLockOptions({ expires, lockedBy, lockProcess }));
  if (outcome.granted) return new Lock(outcome.grant);
  throw new Locked(name, outcome.holder);
}
