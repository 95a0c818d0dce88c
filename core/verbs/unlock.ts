import { stateOf } from "../wait/backend_state.ts";
import { backendOf } from "../connect.ts";
import { traceEach } from "../events/channels.ts";
import { isHandle, type Lock, requireOwnBackend } from "../lock/lock.ts";
import { type BackendOptions, checkName, requireRows } from "../options/options.ts";

/**
 * Releases a lock: by handle only that handle's own, by name the lock of any holder (an administrator's force).
 *
 * @example
 * ```ts
 * import { connect, getLock, unlock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * assert.equal(await unlock(lock), true);
 * assert.equal(await unlock("jobs", { backend }), false);
 * ```
 *
 * @param lock A handle, or a name.
 * @param options The backend, for a name.
 * @returns By handle: `true` if it still held the lock. By name: `true` if there was a lock.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} By name in `session` mode.
 * @throws {TypeError} For a backend that is not the handle's own, or a malformed name.
 */
export async function unlock(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  if (isHandle(lock)) {
    requireOwnBackend(lock, options);
    return await lock.unlock();
  }
  checkName(lock);
  const backend = await backendOf(options);
  requireRows(backend, "release by name");
  const state = stateOf(backend);
  const released = await traceEach("release", backend, [lock], async ([event]) => {
    const { answer, batch } = await state.release.send({ name: lock, owner: null });
    if (event) Object.assign(event, { outcome: answer ? "released" : "gone", batch });
    return answer;
  });
  if (released) state.queues.get(lock)?.noteRelease();
  return released;
}
