import type { Backend, ListFilter } from "../backend.ts";
import { backendOf } from "../connect.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import { checkNames, checkText, type ListOptions } from "../options/options.ts";
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
 * const [other] = await listLocks({ backend, names: ["other"] });
 * assert.equal(other.name, "other");
 * ```
 *
 * @param options Which ones, and the backend.
 * @throws {BackendError} When the database could not answer.
 * @throws {TypeError | RangeError} For a prefix that begins no lock name, or names that are not a list of lock names.
 */
export async function listLocks(options: ListOptions = {}): Promise<LockRecord[]> {
  checkVerbOptions("listLocks", options);
  const filter = { includeExpired: options.includeExpired ?? false, ...resolveFilter(options) };
  return await listRecords(await backendOf(options), filter);
}

/**
 * Checks which locks a caller means.
 *
 * @throws {TypeError | RangeError} For a prefix that begins no lock name, or names that are not a list of lock names.
 */
export function resolveFilter({ names, prefix = "" }: Pick<ListOptions, "names" | "prefix">): ListFilter {
  if (prefix !== "") checkText("prefix", prefix);
  if (names !== undefined) return { names: [...new Set(checkNames(names))].filter((name) => name.startsWith(prefix)) };
  return prefix === "" ? {} : { prefix };
}

/** Asks the backend for the records of locks. */
export async function listRecords(backend: Backend, filter: ListFilter): Promise<LockRecord[]> {
  let askedAt = monotonic();
  const rows = await retryOnce(
    () => backend.list(filter),
    () => askedAt = monotonic(),
  );
  return rows.map((row) => new LockRecord(row, askedAt));
}
