import { acquire, renewalOf } from "../wait/acquire.ts";
import type { Backend } from "../backend.ts";
import { backendOf, givenBackend } from "../connect.ts";
import { Locked, LockTimeout } from "../errors.ts";
import { Lock } from "../lock/lock.ts";
import { checkName, type LockOptions, type ResolvedLockOptions, resolveLockOptions } from "../options/options.ts";
import { isRetryable } from "../util/retry.ts";
import { monotonic, sleep } from "../util/runtime.ts";
import type { Outcome } from "../grant.ts";

/** Pauses between tries to open the default backend (ms), from the first to the longest. */
const OPEN_PAUSE_FIRST_MS = 100;
const OPEN_PAUSE_LONGEST_MS = 1_000;

/** Opens the default backend; for a caller that waits, retryable errors are retried until its deadline. */
async function openDefault(options: LockOptions, { wait, signal }: ResolvedLockOptions): Promise<Backend> {
  const deadline = monotonic() + wait * 1e3;
  for (let pause = OPEN_PAUSE_FIRST_MS;; pause = Math.min(2 * pause, OPEN_PAUSE_LONGEST_MS)) {
    try {
      return await backendOf(options);
    } catch (error) {
      const left = deadline - monotonic();
      if (!isRetryable(error) || left <= 0) throw error;
      await sleep(Math.min(pause, left), signal);
    }
  }
}

/** Acquires through the default backend, which may have to be opened first: that is part of the wait. */
async function acquireByDefault(
  name: string,
  options: LockOptions,
  resolved: ResolvedLockOptions,
): Promise<[Outcome, Backend]> {
  const startedAt = monotonic();
  const backend = await openDefault(options, resolved);
  const wait = Math.max(resolved.wait - (monotonic() - startedAt) / 1e3, 0);
  return [await acquire(backend, name, { ...resolved, wait }), backend];
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
 * @throws {TypeError | RangeError} For a wrong name or option, before anything is asked of the database.
 */
export async function getLock(name: string, options: LockOptions = {}): Promise<Lock> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  const given = givenBackend(options);
  const [outcome, backend] = given
    ? [await acquire(given, name, resolved), given]
    : await acquireByDefault(name, options, resolved);
  if (outcome.granted) return new Lock(outcome.grant, renewalOf(backend, resolved));
  if (options.wait) throw new LockTimeout(name, options.wait, outcome.holder);
  throw new Locked(name, outcome.holder);
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
 * @throws {TypeError | RangeError} For a wrong name or option, before anything is asked of the database.
 */
export async function tryLock(name: string, options: LockOptions = {}): Promise<Lock | undefined> {
  checkName(name);
  const resolved = resolveLockOptions(options);
  const given = givenBackend(options);
  const [outcome, backend] = given
    ? [await acquire(given, name, resolved), given]
    : await acquireByDefault(name, options, resolved);
  return outcome.granted ? new Lock(outcome.grant, renewalOf(backend, resolved)) : undefined;
}
