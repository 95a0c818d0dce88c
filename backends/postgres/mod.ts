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
export { postgresBackend } from "./backend.ts";
export type { DriverOptions, PostgresExecutor, PostgresSql, SqlOptions, SqlResult } from "./driver.ts";
export type { PostgresOptions } from "./options.ts";
export type { Row } from "./rows.ts";
