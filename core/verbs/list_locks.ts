import { backendOf } from "../connect.ts";
import type { ListOptions } from "../options/options.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";

/** `listLocks`, as `verbs.ts` promises it. */
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
