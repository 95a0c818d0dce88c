import type { Backend } from "../backend.ts";
import { backendOf, givenBackend } from "../connect.ts";
import { Locked, LockTimeout } from "../errors.ts";
import { Lock } from "../lock/lock.ts";
import type { LockRecord } from "../lock/lock_record.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { checkName, type LockOptions, type ResolvedLockOptions, resolveLockOptions } from "../options/options.ts";
import { Backoff } from "../util/backoff.ts";
import { isRetryable } from "../util/retry.ts";
import { monotonic, sleep } from "../util/runtime.ts";
import { acquire, renewalOf } from "../wait/acquire.ts";
import { untilGivenUp } from "../wait/given_up.ts";

/** Pauses between tries to open the default backend (ms). */
const OPEN_RETRY = { first: 100, longest: 1_000 };

/**
 * Returns the backend for a call about a name; the default one is opened if necessary. For a caller that waits,
 * retryable errors of that are retried until its deadline.
 */
export async function openBackend(
  name: string,
  options: LockOptions,
  { wait, signal }: ResolvedLockOptions,
): Promise<Backend> {
  const deadline = monotonic() + wait * 1e3;
  const backoff = new Backoff(OPEN_RETRY);
  for (;;) {
    try {
      const backend = backendOf(options);
      return backend instanceof Promise ? await untilGivenUp(backend, name, { wait, signal }, deadline) : backend;
    } catch (error) {
      const left = deadline - monotonic();
      if (!isRetryable(error) || left <= 0) throw error;
      await sleep(Math.min(backoff.next(), left), signal);
    }
  }
}

/** Acquires a lock; opening the default backend is part of the wait. */
async function acquireLock(name: string, options: LockOptions): Promise<{ lock?: Lock; holder?: LockRecord }> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  let backend = givenBackend(options);
  let left = resolved;
  if (backend === undefined) {
    const startedAt = monotonic();
    backend = await openBackend(name, options, resolved);
    left = { ...resolved, wait: Math.max(resolved.wait - (monotonic() - startedAt) / 1e3, 0) };
  }
  const outcome = await acquire(backend, name, left);
  return outcome.granted ? { lock: new Lock(outcome.grant, renewalOf(backend, resolved)) } : { holder: outcome.holder };
}

/**
 * Acquires a lock, or throws when another client holds it for longer than `wait`.
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
 * @param options `expires` is 600 s and `wait` 0 s by default.
 * @throws {Locked} When the name is held (`LockTimeout` after a `wait`).
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError | RangeError} For an invalid name or option, before anything is asked of the database.
 */
export async function getLock(name: string, options: LockOptions = {}): Promise<Lock> {
  checkVerbOptions("getLock", options);
  const { lock, holder } = await acquireLock(name, options);
  if (lock) return lock;
  throw options.wait ? new LockTimeout(name, options.wait, holder) : new Locked(name, holder);
}

/**
 * Acquires a lock if that is possible within `wait`; a held name is no error.
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
 * @returns The lock, or `undefined` when another client holds it.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError | RangeError} For an invalid name or option, before anything is asked of the database.
 */
export async function tryLock(name: string, options: LockOptions = {}): Promise<Lock | undefined> {
  checkVerbOptions("tryLock", options);
  return (await acquireLock(name, options)).lock;
}
