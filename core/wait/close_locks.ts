import type { Backend, OwnedLock } from "../backend.ts";
import { BackendError } from "../errors.ts";
import { withDeadline } from "../util/deadline.ts";
import { defer, warn } from "../util/runtime.ts";
import { type BackendState, stateOf } from "./backend_state.ts";

/** How long a disposal waits for requests in flight and for its releases (ms): the engine has 0.5 s of 2 s to close. */
const RELEASE_WITHIN_MS = 1_500;

/**
 * Ends the use of a backend: waiters get a `BackendError`, and what its handles hold, or requests in flight are still
 * granted, is released within 2 s. For authors of a `Backend`: its `[Symbol.asyncDispose]` is a call of this. Every
 * further call returns the same promise.
 *
 * @example
 * ```ts
 * import { type Backend, closeLocks, connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using store = await connect("sqlite::memory:");
 * const backend: Backend = {
 *   engine: "my-store",
 *   mode: "lease",
 *   acquire: (requests, options) => store.acquire(requests, options),
 *   renew: (requests) => store.renew(requests),
 *   release: (targets) => store.release(targets),
 *   list: (filter) => store.list(filter),
 *   clean: (scope) => store.clean(scope),
 *   [Symbol.asyncDispose]: () => closeLocks(backend, () => Promise.resolve()),
 * };
 * const lock = await getLock("jobs", { backend });
 * await backend[Symbol.asyncDispose]();
 * assert.equal(lock.held, false);
 * ```
 *
 * @param backend The backend.
 * @param shut Closes what the backend has opened, once its locks are released: ends its requests that are under way
 *   within 0.5 s, and refuses further ones. It is told the locks that could not be released.
 */
export function closeLocks(backend: Backend, shut: (left: readonly OwnedLock[]) => Promise<void>): Promise<void> {
  const state = stateOf(backend);
  return state.closing ??= close(state, shut);
}

async function close(state: BackendState, shut: (left: readonly OwnedLock[]) => Promise<void>): Promise<void> {
  state.ended = new BackendError("Cannot acquire a lock: the backend was disposed of");
  for (const wake of state.watches) wake();
  let left: readonly OwnedLock[] = [];
  try {
    await withDeadline(RELEASE_WITHIN_MS, releaseAll(state, state.ended));
    left = state.undo.stop();
    const { length } = left;
    if (length > 0) {
      warn(new BackendError(`Cannot release every lock before the backend is closed: ${length} may stay held`));
    }
  } finally {
    await shut(left);
  }
}

async function releaseAll(state: BackendState, reason: BackendError): Promise<void> {
  const inFlight: Promise<unknown>[] = [...state.pending];
  for (const queue of new Set(state.queues.values())) inFlight.push(queue.close(reason));
  for (const lock of state.held) {
    const claim = lock.endWithBackend();
    if (claim) state.undo.add(claim, null, false);
  }
  await Promise.allSettled(inFlight);
  await new Promise<void>((resolve) => defer(resolve)); // grants that have not reached their callers yet
  await state.undo.finish();
}
