import { acquire } from "../wait/acquire.ts";
import { backendOf } from "../connect.ts";
import { Locked, LockNotFound } from "../errors.ts";
import { isHandle, Lock } from "../lock/lock.ts";
import {
  checkName,
  extension,
  type RenewOptions,
  requireRows,
  resolveHolder,
  resolveLockOptions,
} from "../options/options.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";

/** `renewLock`, as `verbs.ts` promises it. */
export async function renewLock(lock: Lock | string, options: RenewOptions): Promise<LockRecord> {
  return isHandle(lock) ? await lock.renew(options) : await renewByName(lock, options);
}

async function renewByName(name: string, options: RenewOptions): Promise<LockRecord> {
  checkName(name);
  const more = extension(options);
  resolveHolder(options);
  const backend = await backendOf(options);
  requireRows(backend, "renew");
  const askedAt = monotonic();
  const request = { name, owner: null, ...more };
  // What is added is never repeated by itself: an answer that was lost may have added it already.
  const renew = () => backend.renew([request]);
  const [row] = options.addTime ? await renew() : await retryOnce(renew);
  if (row) return new LockRecord(row, askedAt);
  if (!options.create) throw new LockNotFound(name);
  const { expires, lockedBy, lockProcess } = options;
  const outcome = await acquire(backend, name, resolveLockOptions({ expires, lockedBy, lockProcess }));
  if (outcome.granted) return new Lock(outcome.grant);
  throw new Locked(name, outcome.holder);
}
