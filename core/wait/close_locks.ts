import type { Backend } from "../backend.ts";
import { type BackendState, backendState } from "./backend_state.ts";
import { BackendError } from "../errors.ts";
import { withDeadline } from "../util/deadline.ts";
import { defer, warn } from "../util/runtime.ts";

/** How long a disposal waits for requests under way and for its releases (ms): within 2 s all is released or given up. */
const CLOSING_MS = 1_500;

/**
 * Ends the use of a backend: waiters get a `BackendError`, and what its handles hold, or requests under way are still
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
 * @param shut Closes what the backend has opened, once its locks are released.
 */
export function closeLocks(backend: Backend, shut: () => Promise<void>): Promise<void> {
  const batches = backendState(backend);
  return batches.closing ??= close(batches, shut);
}

async function close(batches: BackendState, shut: () => Promise<void>): Promise<void> {
  batches.ended = new BackendError("Cannot acquire a lock: the backend was disposed of");
  try {
    await withDeadline(CLOSING_MS, releaseAll(batches, batches.ended));
    const left = batches.undoing.stop();
    if (left > 0) warn(new BackendError(`Cannot release ${left} locks before the backend is closed: they expire`));
  } finally {
    await shut();
  }
}

async function releaseAll(batches: BackendState, reason: BackendError): Promise<void> {
  const underWay: Promise<unknown>[] = [...batches.together];
  for (const line of new Set(batches.lines.values())) underWay.push(line.close(reason));
  for (const holding of batches.held) {
    const claim = holding.endWithBackend();
    if (claim) batches.undoing.undo(claim, null, false);
    else if (holding.releasing) underWay.push(holding.releasing);
  }
  await Promise.allSettled(underWay);
  await new Promise<void>((resolve) => defer(resolve)); // grants on their way to their callers
  await batches.undoing.settle();
}
