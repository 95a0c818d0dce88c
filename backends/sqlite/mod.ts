/**
 * Locks in an SQLite file: several processes of one machine, no server.
 *
 * @example
 * ```ts
 * import { getLock } from "@lockmgr/lockmgr";
 * import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
 * import { DatabaseSync } from "node:sqlite";
 * import assert from "node:assert/strict";
 *
 * using database = new DatabaseSync(":memory:"); // a handle that the program has anyway
 * await using backend = await sqliteBackend(database);
 * await using lock = await getLock("jobs", { backend });
 * assert(lock.held);
 * ```
 *
 * @module
 */
export type { SqliteDatabase, SqliteStatement } from "./connection/driver.ts";
export { engine, sqliteBackend } from "./backend.ts";
export type { SqliteOptions } from "./options.ts";
