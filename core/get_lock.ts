import { acquire, renewalOf } from "./acquire.ts";
import { backendOf, givenBackend } from "./connect.ts";
import { Locked, LockTimeout } from "./errors.ts";
import { Lock } from "./lock.ts";
import { checkName, type LockOptions, resolveLockOptions } from "./options.ts";

/** `getLock`, as `verbs.ts` promises it. */
export async function getLock(name: string, options: LockOptions = {}): Promise<Lock> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  const backend = givenBackend(options) ?? await backendOf(options);
  const outcome = await acquire(backend, name, resolved);
  if (outcome.granted) return new Lock(outcome.grant, renewalOf(backend, resolved));
  if (options.wait) throw new LockTimeout(name, options.wait, outcome.holder);
  throw new Locked(name, outcome.holder);
}

/** `tryLock`, as `verbs.ts` promises it: it does not tell who has the lock. */
export async function tryLock(name: string, options: LockOptions = {}): Promise<Lock | undefined> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  const backend = givenBackend(options) ?? await backendOf(options);
  const outcome = await acquire(backend, name, resolved, true);
  return outcome.granted ? new Lock(outcome.grant, renewalOf(backend, resolved)) : undefined;
}
