import type { Backend } from "../../core/backend.ts";
import type { Engine } from "../../core/engine.ts";
import { Connector, rememberConnector } from "./connection/connector.ts";
import type { MysqlFunction, MysqlPool } from "./connection/driver.ts";
import { RowBackend } from "./rows/row_backend.ts";
import { schema } from "./schema.ts";
import { Liveness } from "../sessions/liveness.ts";
import { SessionBackend } from "../sessions/session_backend.ts";
import { MysqlSessionEngine, openLivenessLock } from "./session/session_engine.ts";
import { type MysqlOptions, resolveTarget } from "./options.ts";

/**
 * Keeps locks in a MySQL or MariaDB database.
 *
 * @example
 * ```ts
 * import { getLock } from "@lockmgr/lockmgr";
 * import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url, { mode: "hybrid" });
 *   await using lock = await getLock("jobs", { backend, expires: 60, autoRenew: true });
 *   console.log(lock.token);
 * }
 * ```
 *
 * @param target A URL (`mysql:` or `mariadb:`); a pool of `mysql2` or `mysql2/promise`, which is never closed here, while
 * session locks ride on connections of their own, opened with the pool's settings; or, for `"lease"` alone, a function
 * `(sql, parameters) => Promise<rows or result>` that sends a statement, such as the raw query of an ORM.
 * @param options The mode, the table, and how connections are made.
 * @returns The backend; disposal closes what was opened here.
 * @throws {TypeError | RangeError} For an invalid target or option, before anything is opened.
 * @throws {UnsupportedError} For `"session"` and `"hybrid"` through a function, and where GET_LOCK does not hold: Galera, multi-primary group
 * replication, Vitess, TiDB, a read-only replica.
 * @throws {BackendError} When the server is not reachable, or the table does not exist and must not be created.
 */
export async function mysqlBackend(
  target: string | URL | MysqlPool | MysqlFunction,
  options: MysqlOptions = {},
): Promise<Backend> {
  const connector = new Connector(resolveTarget(target, options));
  const { mode } = connector.target.options;
  const liveness = mode === "hybrid" ? new Liveness(() => openLivenessLock(connector)) : undefined;
  const engine = mode === "session" ? new MysqlSessionEngine(connector) : undefined;
  const backend = engine ? new SessionBackend(engine) : new RowBackend(connector, liveness);
  rememberConnector(backend, connector);
  try {
    if (engine) await engine.pool.session("connect");
    else await (backend as RowBackend).open();
  } catch (error) {
    await backend[Symbol.asyncDispose]();
    throw error;
  }
  return backend;
}

/**
 * What `connect` loads for the URLs of MySQL and MariaDB.
 *
 * @example
 * ```ts
 * import { engine } from "@lockmgr/lockmgr/mysql";
 * import assert from "node:assert/strict";
 *
 * assert.match(engine.schema!("my_locks"), /CREATE TABLE/);
 * ```
 */
export const engine: Engine = { open: mysqlBackend, schema };
