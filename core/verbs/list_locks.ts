import { backendOf } from "../connect.ts";
import type { ListOptions } from "../options/options.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";

/**
 * Returns the locks that are held, ordered by name; expired ones only with `includeExpired`. Changes nothing. In
 * `session` mode it returns what is held through this backend object.
 *
 * @example
 * ```ts
 * import { connect, getLock, listLocks } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs:mail", { backend });
 * await getLock("jobs:sms", { backend });
 * await getLock("other", { backend });
 * const names = (await listLocks({ backend, prefix: "jobs:" })).map(({ name }) => name);
 * assert.deepEqual(names, ["jobs:mail", "jobs:sms"]);
 * ```
 *
 * @param options Which ones, and the backend.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError} For a prefix that is not a string.
 */
export async function listLocks(options: ListOptions = {}): Promise<LockRecord[]> {
  const { prefix, includeExpired = false } = options;
  if (prefix !== undefined && typeof prefix !== "string") {
    throw new TypeError(`Cannot use prefix of type ${typeof prefix}: want a string`);
  }
  const backend = await backendOf(options);
  let askedAt = monotonic();
  const rows = await retryOnce(
    () => backend.list({ includeExpired, ...(prefix ? { prefix } : {}) }),
    () => askedAt = monotonic(),
  );
  return rows.map((row) => new LockRecord(row, askedAt));
}
