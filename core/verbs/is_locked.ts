import { backendOf } from "../connect.ts";
import { isHandle, type Lock, requireOwnBackend } from "../lock/lock.ts";
import { type BackendOptions, checkName } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/**
 * Returns whether any client holds a name. Changes nothing. To ask for one handle, use its `verify()`.
 *
 * @example
 * ```ts
 * import { connect, getLock, isLocked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend });
 * assert.equal(await isLocked("jobs", { backend }), true);
 * assert.equal(await isLocked("JOBS", { backend }), false);
 * ```
 *
 * @param lock A name, or a handle of it.
 * @param options The backend, for a name.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError} For a backend that is not the handle's own, or a malformed name.
 */
export async function isLocked(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  const handle = isHandle(lock) ? lock : undefined;
  if (handle) requireOwnBackend(handle, options);
  const name = handle ? handle.name : lock as string;
  checkName(name);
  const backend = handle ? handle.backend : await backendOf(options);
  const rows = await retryOnce(() => backend.list({ names: [name] }));
  return rows.length > 0;
}
