import { backendOf } from "../connect.ts";
import { UnsupportedError } from "../errors.ts";
import { isHandle, type Lock, requireOwnBackend } from "../lock/lock.ts";
import type { LockRecord } from "../lock/lock_record.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { type BackendOptions, lockRefOf } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/**
 * Returns whether a lock is held: by name, by any client; by handle or record, by that acquisition. Changes nothing, not
 * even the handle: its `verify()` also notices the loss.
 *
 * @example
 * ```ts
 * import { connect, getLock, isLocked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * assert.equal(await isLocked("jobs", { backend }), true);
 * assert.equal(await isLocked("JOBS", { backend }), false);
 * assert.equal(await isLocked({ name: "jobs", token: lock.token }, { backend }), true);
 * ```
 *
 * @param lock A name; a record, or its name and token; or a handle.
 * @param options The backend, for a name or a record.
 * @throws {BackendError} When the database could not answer.
 * @throws {UnsupportedError} In `session` mode for a record, when another backend holds the name.
 * @throws {TypeError} For a backend that is not the handle's own, or a malformed name.
 */
export async function isLocked(
  lock: Lock | Pick<LockRecord, "name" | "token"> | string,
  options: BackendOptions = {},
): Promise<boolean> {
  checkVerbOptions("isLocked", options);
  const handle = isHandle(lock) ? lock : undefined;
  if (handle) requireOwnBackend(handle, options);
  const { name, owner } = lockRefOf(lock);
  const backend = handle ? handle.backend : await backendOf(options);
  const rows = await retryOnce(() => backend.list({ names: [name] }));
  if (rows.some(({ token, lockedBy }) => owner === null || (token === owner && lockedBy !== ""))) return true; // "": released
  if (handle || rows.every(({ token }) => token !== 0n)) return false;
  const reason = "the server says no token of another connection's session lock; want the backend that holds it";
  throw new UnsupportedError(`Cannot tell by a record whether lock ${JSON.stringify(name)} is held: ${reason}`);
}
