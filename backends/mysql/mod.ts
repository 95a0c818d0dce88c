/**
 * Locks in a MySQL or MariaDB database.
 *
 * @example
 * ```ts
 * import { withLock } from "@lockmgr/lockmgr";
 * import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url);
 *   await withLock("invoice:7", { backend, expires: 30, wait: 5 }, (lock) => console.log(lock.token));
 * }
 * ```
 *
 * @module
 */
export { engine, mysqlBackend } from "./backend.ts";
export { HeldTableLock, TableLock, type TableLockOptions } from "./native/table_lock.ts";
export { UserLock, type UserLockOptions } from "./native/user_lock.ts";
export type { MysqlConnection, MysqlFunction, MysqlPool } from "./connection/driver.ts";
export type { MysqlOptions } from "./options.ts";
