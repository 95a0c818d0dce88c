/**
 * What a caller's transaction runs on, for `guard`: a driver's handle, transaction or connection, or a function that
 * sends a statement on it and resolves to its rows.
 *
 * @example
 * ```ts
 * import { getLock, type GuardClient } from "@lockmgr/lockmgr";
 * import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
 * import { DatabaseSync } from "node:sqlite";
 *
 * using database = new DatabaseSync(":memory:");
 * await using backend = await sqliteBackend(database);
 * await using lock = await getLock("accounts", { backend });
 * const send: GuardClient = (text, parameters) => Promise.resolve(database.prepare(text).all(...parameters));
 * database.exec("BEGIN IMMEDIATE");
 * await lock.guard(send);
 * database.exec("COMMIT");
 * ```
 */
export type GuardClient = object | ((text: string, parameters: (string | null)[]) => PromiseLike<unknown>);
