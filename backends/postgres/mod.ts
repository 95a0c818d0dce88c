/**
 * Locks in PostgreSQL: leases, session locks, and hybrids of both.
 *
 * @example
 * ```ts ignore
 * import { getLock } from "@lockmgr/lockmgr";
 * import { postgresBackend } from "@lockmgr/lockmgr/postgres";
 * import postgres from "postgres";
 *
 * const sql = postgres("postgres://app@db.example.org/app"); // an instance that the program has anyway
 * await using backend = await postgresBackend(sql);
 * await using lock = await getLock("jobs", { backend });
 * ```
 *
 * @module
 */
export type { AdvisoryHash, AdvisoryId, AdvisoryKey } from "./advisory_key.ts";
export { AdvisoryLock, advisoryLock, type AdvisoryLockOptions } from "./advisory_lock.ts";
export { postgresBackend } from "./backend.ts";
export type {
  DriverOptions,
  PostgresExecutor,
  PostgresSql,
  PostgresTransaction,
  SqlOptions,
  SqlResult,
} from "./driver.ts";
export type { PostgresOptions } from "./options.ts";
export type { Row } from "./rows.ts";
