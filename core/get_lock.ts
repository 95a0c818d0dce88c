import { acquire, renewalOf } from "./acquire.ts";
import { backendOf } from "./default_backend.ts";
import { Locked, LockTimeout } from "./errors.ts";
import { Lock } from "./lock.ts";
import { checkName } from "./names.ts";
import { type LockOptions, resolveLockOptions } from "./options.ts";
import type { LockRecord } from "./record.ts";

/** The lock, or the record in the way: busy is a value in here and becomes an error only at the outside. */
type Attempt = { lock: Lock; holder?: undefined } | { lock?: undefined; holder: LockRecord | undefined };

/** What `getLock` and `tryLock` have in common. */
async function attempt(name: string, options: LockOptions): Promise<Attempt> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  const backend = await backendOf(options);
  const outcome = await acquire(backend, name, resolved);
  if (!outcome.granted) return { holder: outcome.holder };
  return { lock: new Lock(outcome.grant, renewalOf(backend, resolved)) };
}

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
export async function getLock(name: string, options: LockOptions = {}): Promise<Lock> {
  const { lock, holder } = await attempt(name, options);
  if (lock) return lock;
  if (options.wait) throw new LockTimeout(name, options.wait, holder);
  throw new Locked(name, holder);
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
export async function tryLock(name: string, options: LockOptions = {}): Promise<Lock | undefined> {
  return (await attempt(name, options)).lock;
}
