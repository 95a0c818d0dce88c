/**
 * Locks in PostgreSQL: leases, session locks, and hybrids of both.
 *
 * @example
 * ```ts
 * import { getLock } from "@lockmgr/lockmgr";
 * import { postgresBackend } from "@lockmgr/lockmgr/postgres";
 * import postgres from "postgres";
 *
 * const sql = postgres("postgres://app@db.example.org/app"); // an instance that the program has anyway
 * export async function nightly(): Promise<void> {
 *   await using backend = await postgresBackend(sql);
 *   await using lock = await getLock("nightly", { backend, expires: 60, autoRenew: true });
 *   lock.signal.throwIfAborted();
 * }
 * ```
 *
 * @module
 */
export type { AdvisoryHash, AdvisoryId, AdvisoryKey } from "./advisory/key.ts";
export { AdvisoryLock, advisoryLock, type AdvisoryLockOptions } from "./advisory/advisory_lock.ts";
export { engine, postgresBackend } from "./backend.ts";
export type { PostgresExecutor, PostgresSql, PostgresTransaction } from "./connection/driver.ts";
export type { PostgresClient, PostgresPool } from "./connection/pg_driver.ts";
export type { PostgresOptions } from "./options.ts";
