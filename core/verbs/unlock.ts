import { stateOf } from "../wait/backend_state.ts";
import { backendOf } from "../connect.ts";
import { traced } from "../events/channels.ts";
import { isHandle, type Lock, requireOwnBackend } from "../lock/lock.ts";
import type { LockRecord } from "../lock/lock_record.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { type BackendOptions, lockRefOf, requireRows } from "../options/options.ts";

/**
 * Releases a lock: by handle only that handle's own; by record only the acquisition with that token, never the next
 * holder's; by name the lock of any holder (an administrator's force).
 *
 * @example
 * ```ts
 * import { connect, getLock, listLocks, unlock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * assert.equal(await unlock(lock), true);
 * assert.equal(await unlock("jobs", { backend }), false);
 *
 * await getLock("jobs", { backend });
 * const [record] = await listLocks({ backend });
 * assert.equal(await unlock(record, { backend }), true);
 * ```
 *
 * @param lock A handle; a record, or its name and token; or a name.
 * @param options The backend, for a record or a name.
 * @returns By handle or record: `true` if that acquisition still held the lock. By name: `true` if there was a lock.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} In `session` mode by name, or by the record of another backend's lock.
 * @throws {TypeError} For a backend that is not the handle's own, or a malformed name.
 */
export async function unlock(
  lock: Lock | Pick<LockRecord, "name" | "token"> | string,
  options: BackendOptions = {},
): Promise<boolean> {
  checkVerbOptions("unlock", options);
  if (isHandle(lock)) {
    requireOwnBackend(lock, options);
    return await lock.unlock();
  }
  const target = lockRefOf(lock);
  const { name, owner } = target;
  const backend = await backendOf(options);
  if (owner === null) requireRows(backend, "release by name");
  const state = stateOf(backend);
  const released = await traced("release", backend, name, async (event) => {
    const { answer, batch } = await state.release.send(target);
    if (event) Object.assign(event, { outcome: answer ? "released" : "gone", batch });
    return answer;
  }, typeof owner === "bigint" ? owner : undefined);
  if (!released) return false;
  if (typeof owner === "bigint") state.noteForced(name, owner);
  state.queues.get(name)?.noteRelease();
  return true;
}
