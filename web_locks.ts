/**
 * The Web Locks API (`navigator.locks`) across processes and hosts: the same requests, modes and errors, kept in a
 * database.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { lockManager } from "@lockmgr/lockmgr/web-locks";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const locks = lockManager(backend); // in the place of navigator.locks
 * const answer = await locks.request("report", async (lock) => `ran as the ${lock?.mode} holder of ${lock?.name}`);
 * assert.equal(answer, "ran as the exclusive holder of report");
 * ```
 *
 * @module
 */
export { lockManager } from "./web_locks/manager.ts";
export type * from "./web_locks/types.ts";
