import { acquire, renewalOf } from "./acquire.ts";
import { backendOf } from "./connect.ts";
import { Locked, LockTimeout } from "./errors.ts";
import { Lock } from "./lock.ts";
import { checkName, type LockOptions, resolveLockOptions } from "./options.ts";
import type { LockRecord } from "./record.ts";

/** The lock, or the record in the way: busy is a value in here and becomes an error only at the outside. */
type Attempt = { lock: Lock; holder?: undefined } | { lock?: undefined; holder: LockRecord | undefined };

/** What `getLock` and `tryLock` have in common; `plainNo` is for who does not tell who has it. */
async function attempt(name: string, options: LockOptions, plainNo: boolean): Promise<Attempt> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  const backend = await backendOf(options);
  const outcome = await acquire(backend, name, resolved, plainNo);
  if (!outcome.granted) return { holder: outcome.holder };
  return { lock: new Lock(outcome.grant, renewalOf(backend, resolved)) };
}

/** `getLock`, as `verbs.ts` promises it. */
export async function getLock(name: string, options: LockOptions = {}): Promise<Lock> {
  const { lock, holder } = await attempt(name, options, false);
  if (lock) return lock;
  if (options.wait) throw new LockTimeout(name, options.wait, holder);
  throw new Locked(name, holder);
}

/** `tryLock`, as `verbs.ts` promises it. */
export async function tryLock(name: string, options: LockOptions = {}): Promise<Lock | undefined> {
  return (await attempt(name, options, true)).lock;
}
