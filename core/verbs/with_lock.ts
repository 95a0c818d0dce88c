import type { LockLost } from "../errors.ts";
import { getLock } from "./get_lock.ts";
import { endedByProgram } from "../lock/held_lock.ts";
import type { Lock } from "../lock/lock.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import type { LockOptions } from "../options/options.ts";
import { warn } from "../util/runtime.ts";

/**
 * A function that runs while the lock is held.
 *
 * @example
 * ```ts
 * import { connect, type LockBody, withLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const body: LockBody<bigint> = (lock) => lock.token;
 * assert(await withLock("jobs", { backend }, body) > 0n);
 * ```
 */
export type LockBody<T> = (lock: Lock) => T | Promise<T>;

/**
 * Runs `body` while holding a lock, renewed for as long as it runs.
 *
 * @example
 * ```ts
 * import { connect, setDefaultBackend, withLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * setDefaultBackend(backend);
 * const answer = await withLock("jobs", (lock) => lock.held ? 42 : 0);
 * assert.equal(answer, 42);
 * setDefaultBackend(undefined);
 * ```
 *
 * @param name As for `getLock`.
 * @param body Gets the lock; its `signal` aborts when the lock is lost.
 * @returns What the body returned.
 * @throws {Locked} When the name is held; the body did not run.
 * @throws {LockLost} When the lock was lost while the body ran, even though it returned.
 * @throws {BackendError} When the lock could not be acquired (the body did not run) or released (this
 * process goes on trying).
 */
export function withLock<T>(name: string, body: LockBody<T>): Promise<T>;
/** As above, with options; `autoRenew` is `true` by default. */
export function withLock<T>(name: string, options: LockOptions | undefined, body: LockBody<T>): Promise<T>;
export async function withLock<T>(
  name: string,
  ...rest: [body: LockBody<T>] | [options: LockOptions | undefined, body: LockBody<T>]
): Promise<T> {
  const [options = {}, body] = rest.length === 1 ? [{}, rest[0]] : rest;
  checkVerbOptions("withLock", options);
  if (typeof body !== "function") throw new TypeError(`Cannot run a body of type ${typeof body}: want a function`);
  const lock = await getLock(name, { ...options, autoRenew: options.autoRenew ?? true });
  let result: T;
  try {
    result = await body(lock);
  } catch (error) {
    await lock[Symbol.asyncDispose](); // never throws: the body's own error wins
    throw error;
  }
  await finish(lock);
  return result;
}

/** Releases the lock after its body returned; throws its loss, if it was lost before. */
async function finish(lock: Lock): Promise<void> {
  const loss = lossOf(lock);
  try {
    await lock.unlock();
  } catch (error) {
    if (loss === undefined) throw error;
    warn(error as Error);
  }
  const found = loss ?? lossOf(lock);
  if (found) throw found;
}

/** Returns why the lock was lost; what the program did itself is no loss. */
function lossOf(lock: Lock): LockLost | undefined {
  const loss = lock.signal.aborted ? lock.signal.reason as LockLost : undefined;
  return loss && endedByProgram(loss) ? undefined : loss;
}
