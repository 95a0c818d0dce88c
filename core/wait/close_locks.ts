import type { Backend, OwnedLock } from "../backend.ts";
import { BackendError } from "../errors.ts";
import { warn } from "../util/runtime.ts";
import { type Uses, usesOf } from "./backend_state.ts";

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
  const uses = usesOf(backend);
  return uses.closing ??= close(uses, shut);
}

async function close({ states }: Uses, shut: (left: readonly OwnedLock[]) => Promise<void>): Promise<void> {
  let left: readonly OwnedLock[] = [];
  try {
    left = (await Promise.all([...states].map((state) => state.close()))).flat();
    if (left.length > 0) {
      warn(new BackendError(`Cannot release every lock before the backend is closed: ${left.length} may stay held`));
    }
  } finally {
    await shut(left);
  }
}
