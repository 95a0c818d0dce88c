import type { Backend, GuardClient } from "../backend.ts";
import { Locked, LockTimeout } from "../errors.ts";
import { dropMinimum, Lock, stopRenewing } from "../lock/lock.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import {
  checkNames,
  extension,
  type LockOptions,
  type RenewOptions,
  type ResolvedLockOptions,
  resolveLockOptions,
} from "../options/options.ts";
import { withDeadline } from "../util/deadline.ts";
import { byCodePoint } from "../util/order.ts";
import { settled } from "../util/requests.ts";
import { isRetryable } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";
import { acquireSeveral, renewalOf } from "../wait/acquire.ts";
import { stateOf } from "../wait/backend_state.ts";
import { untilGivenUp } from "../wait/given_up.ts";
import { LEAVE_MS } from "../wait/wait_queue.ts";
import { getLock, openBackend } from "./get_lock.ts";

/**
 * Options of `LockSet.renew`.
 *
 * @example
 * ```ts
 * import { connect, getLocks, type LockSetRenewOptions } from "@lockmgr/lockmgr";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using set = await getLocks(["from", "to"], { backend, expires: 60 });
 * const options: LockSetRenewOptions = { expires: 30, addTime: true };
 * await set.renew(options);
 * ```
 */
export type LockSetRenewOptions = Pick<RenewOptions, "expires" | "addTime">;

/**
 * Several locks with one handle. `getLocks` makes it. Disposal (`await using`) releases all of them.
 *
 * @example
 * ```ts
 * import { connect, getLocks, LockSet } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using set: LockSet = await getLocks(["account:7", "account:9"], { backend });
 * assert.deepEqual(set.locks.map(({ name }) => name), ["account:7", "account:9"]);
 * ```
 */
export class LockSet implements AsyncDisposable {
  /** The handles, each name once, in the order in which the names were given. */
  readonly locks: readonly Lock[];
  #signal: AbortSignal | undefined;

  /** Makes the handle of locks that are held. */
  constructor(locks: ReadonlyArray<Lock>) {
    this.locks = locks;
  }

  /** Whether this process may act as the holder of every name; see `Lock.held`. */
  get held(): boolean {
    return this.locks.every(({ held }) => held);
  }

  /** Aborts with a `LockLost` when any of the locks is lost. */
  get signal(): AbortSignal {
    const signals = this.locks.map(({ signal }) => signal); // each looks whether its lease has expired
    return this.#signal ??= AbortSignal.any(signals);
  }

  /**
   * Extends every lock, never shortening one.
   *
   * @throws {LockLost} When a lock is no longer this set's; the others have been extended.
   */
  async renew(options: LockSetRenewOptions = {}): Promise<this> {
    checkVerbOptions("LockSet.renew", options);
    extension(options); // a set without locks refuses the same values
    await settled(this.locks.map((lock) => lock.renew(options)));
    return this;
  }

  /**
   * Releases every lock that this set still holds.
   *
   * @returns `true` if it held all of them.
   * @throws {BackendError} When the database could not answer for one of them, after all were tried.
   */
  async unlock(): Promise<boolean> {
    return (await settled(this.locks.map((lock) => lock.unlock()))).every(Boolean);
  }

  /**
   * Keeps every lock from changing hands until the caller's open transaction ends; see `Lock.guard`.
   *
   * @throws {LockLost} When a lock is no longer this set's.
   */
  async guard(client: GuardClient): Promise<void> {
    for (const lock of this.locks) await lock.guard(client); // one connection: one statement after the other
  }

  /** Releases every lock, once. It never throws: a release that fails becomes a warning of the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.locks.map((lock) => lock[Symbol.asyncDispose]()));
  }
}

/**
 * Acquires several names: all of them, or none. Two callers never deadlock, in whatever order they give their names.
 * Exclusive locks of free names are one statement. Otherwise a caller acquires the names in one order for all callers,
 * exclusive ones as many at a time as are free, and keeps those that it has until the last is free or the wait is over.
 *
 * @example
 * ```ts
 * import { connect, getLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using set = await getLocks(["account:9", "account:7"], { backend, expires: 30, wait: 5 });
 * assert(set.held);
 * ```
 *
 * @param names The names; one that is given twice is acquired once.
 * @param options As for `getLock`; they apply to each of the locks, `wait` to all together.
 * @throws {Locked} When a name is held (`LockTimeout` after a `wait`); no name is held by this caller then.
 * @throws {LockLost} When a lock was lost while this caller waited for another one.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError | RangeError} For an invalid name or option, before anything is asked of the database.
 */
export async function getLocks(names: readonly string[], options: LockOptions = {}): Promise<LockSet> {
  checkVerbOptions("getLocks", options);
  const unique = [...new Set(checkNames(names))];
  const resolved = resolveLockOptions(options);
  const deadline = monotonic() + resolved.wait * 1e3;
  const backend = await openBackend(unique[0], options, resolved);
  resolved.signal?.throwIfAborted();
  if (unique.length === 0) return new LockSet([]);
  const ordered = unique.toSorted(byCodePoint); // one order for all clients: no deadlock
  const { locks, held } = await acquireTogether(backend, ordered, resolved, deadline);
  if (held && resolved.wait === 0) throw new Locked(held.name, held);
  if (locks.length === 0) locks.push(...await acquireInTurn(backend, ordered, options, resolved, deadline, held));
  const byName = new Map(locks.map((lock) => [lock.name, lock]));
  return new LockSet(unique.map((name) => byName.get(name)!));
}

/** Acquires all names or none in one request, which is exclusive. Returns the record of the first that is held, as well. */
async function acquireTogether(
  backend: Backend,
  names: readonly string[],
  options: ResolvedLockOptions,
  deadline: number,
): Promise<{ locks: Lock[]; held?: LockRecord }> {
  if (options.limit !== 1 || options.steal || names.length === 0) return { locks: [] };
  const asked = acquireSeveral(backend, names, options, true).catch((error) => {
    if (options.wait === 0 || !isRetryable(error)) throw error;
  });
  const several = await untilGivenUp(asked, names[0], options, deadline).catch((error) => {
    const { undo } = stateOf(backend);
    asked.then((late) => late?.grants.forEach(({ claim }) => undo.add(claim, null, false)), () => {});
    throw error;
  });
  if (several === undefined) return { locks: [] }; // the wait for a name waits out an outage, too
  const { grants, busy, askedAt } = several;
  const locks = grants.map((grant) => new Lock(grant, renewalOf(backend, options)));
  const holder = busy.find((answer) => answer.holder)?.holder;
  return holder ? { locks, held: new LockRecord(holder, askedAt) } : { locks };
}

/**
 * Acquires names in their order until the deadline (ms, monotonic), and keeps those that it has meanwhile: those before
 * the first that is held in one request, then that one as soon as it is free, then the rest in the same way.
 */
async function acquireInTurn(
  backend: Backend,
  names: readonly string[],
  options: LockOptions,
  resolved: ResolvedLockOptions,
  deadline: number,
  firstHeld: LockRecord | undefined,
): Promise<Lock[]> {
  const { wait, signal, autoRenew } = resolved;
  const locks: Lock[] = [];
  const ended = () => AbortSignal.any([...(signal ? [signal] : []), ...locks.map((lock) => lock.signal)]);
  const addTogether = async (some: readonly string[]) => {
    const together = await acquireTogether(backend, some, { ...resolved, autoRenew: true }, deadline);
    locks.push(...together.locks);
    return together.held;
  };
  try {
    for (let held = firstHeld; locks.length < names.length; held = await addTogether(names.slice(locks.length))) {
      await addTogether(names.slice(locks.length, held ? names.indexOf(held.name) : 0));
      const left = Math.max((deadline - monotonic()) / 1e3, 0);
      const each = { ...options, backend, wait: left, autoRenew: true, signal: ended() };
      locks.push(await getLock(names[locks.length], each));
    }
    ended().throwIfAborted();
    if (!autoRenew) locks.forEach(stopRenewing);
    if (backend.mode !== "session") {
      await untilGivenUp(new LockSet(locks).renew({ expires: options.expires }), names[0], resolved, deadline);
    }
    return locks;
  } catch (error) {
    locks.forEach(dropMinimum);
    await withDeadline(LEAVE_MS, new LockSet(locks)[Symbol.asyncDispose]()); // never throws: the first error counts
    const isBusy = error instanceof Locked && wait > 0 && error !== signal?.reason;
    throw isBusy ? new LockTimeout(error.lockName, wait, error.holder) : error;
  }
}
