import { stateOf } from "../wait/backend_state.ts";
import { backendOf } from "../connect.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { type BackendOptions, requireRows } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/**
 * Removes every lock of every holder: an administrator's last resort. Holders notice at their next renewal.
 *
 * @example
 * ```ts
 * import { connect, getLock, resetLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("hello", { backend });
 * await getLock("world", { backend });
 * assert.equal(await resetLocks({ backend }), 2);
 * ```
 *
 * @param options The backend.
 * @returns How many locks were removed.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} In `session` mode.
 */
export async function resetLocks(options: BackendOptions = {}): Promise<number> {
  checkVerbOptions("resetLocks", options);
  const backend = await backendOf(options);
  requireRows(backend, "remove every lock");
  const removed = await retryOnce(() => backend.clean("all"));
  for (const queue of stateOf(backend).queues.values()) queue.wake();
  return removed;
}
