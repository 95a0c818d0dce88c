import { backendOf } from "../connect.ts";
import { checkVerbOptions } from "../options/known_options.ts";
import type { BackendOptions } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/**
 * Clears away expired locks, which `listLocks` then no longer returns with `includeExpired`. Nothing needs this: an
 * expired lock is free. Tokens keep increasing.
 *
 * @example
 * ```ts
 * import { cleanLocks, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * assert.equal(await cleanLocks({ backend }), 0);
 * ```
 *
 * @param options The backend.
 * @returns How many expired locks were cleared away.
 * @throws {BackendError} When the database could not answer.
 */
export async function cleanLocks(options: BackendOptions = {}): Promise<number> {
  checkVerbOptions("cleanLocks", options);
  const backend = await backendOf(options);
  return backend.mode === "session" ? 0 : await retryOnce(() => backend.clean("expired"));
}
