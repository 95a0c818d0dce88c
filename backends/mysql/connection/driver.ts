/**
 * Everything that is used of npm:mysql2, its undocumented fields included; no other file touches them. The driver is
 * loaded when a connection is first opened.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { type Answer, changeOf } from "./row_shapes.ts";

/** The socket of a connection. */
interface Socket {
  readonly localPort?: number;
  ref?(): void;
  unref?(): void;
  destroy?(): void;
  on(event: string, listener: () => void): unknown;
}

/** A connection of mysql2's callback API; its promise API wraps one. */
export interface DriverConnection {
  readonly threadId: number | null;
  readonly config?: { readonly typeCast?: unknown };
  readonly stream?: Socket;
  query(options: object, callback: (error: unknown, result: unknown) => void): unknown;
  on(event: string, listener: (error?: Error) => void): unknown;
  destroy(): void;
  /** Returns a connection to its pool. */
  release?(): void;
}

/** A pool of mysql2's callback API. */
export interface DriverPool {
  readonly config: { readonly connectionConfig: Record<string, unknown>; readonly connectionLimit?: number };
  readonly _freeConnections?: { readonly length: number };
  readonly _allConnections?: { readonly length: number };
  getConnection(callback: (error: unknown, connection: DriverConnection) => void): void;
}

/**
 * A connection pool of `mysql2` or `mysql2/promise`. It is used as it is and never closed.
 *
 * @example
 * ```ts
 * import { type MysqlPool, mysqlBackend } from "@lockmgr/lockmgr/mysql";
 * import { createPool } from "mysql2/promise";
 * import process from "node:process";
 *
 * const uri = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (uri?.startsWith("mysql:")) {
 *   const pool: MysqlPool = createPool({ uri });
 *   await using backend = await mysqlBackend(pool);
 *   console.log(backend.mode);
 * }
 * ```
 */
export type MysqlPool = { readonly pool: object } | { getConnection(callback: never): void };

/**
 * Sends one statement and returns the driver's answer: its rows, or what it changed. The raw query of an ORM is one.
 *
 * @example
 * ```ts
 * import { mysqlBackend, type MysqlFunction } from "@lockmgr/lockmgr/mysql";
 * import { createConnection } from "mysql2/promise";
 * import process from "node:process";
 *
 * const uri = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (uri?.startsWith("mysql:")) {
 *   const connection = await createConnection(uri);
 *   const send: MysqlFunction = (sql, parameters) => connection.query(sql, parameters);
 *   await using backend = await mysqlBackend(send);
 *   console.log(backend.mode);
 * }
 * ```
 */
export type MysqlFunction = (sql: string, parameters: string[]) => PromiseLike<unknown>;

/**
 * A connection of `mysql2` or `mysql2/promise`, with a transaction of the caller's open on it: what `guard` takes.
 *
 * @example
 * ```ts
 * import { getLock } from "@lockmgr/lockmgr";
 * import { type MysqlConnection, mysqlBackend } from "@lockmgr/lockmgr/mysql";
 * import { createConnection } from "mysql2/promise";
 * import process from "node:process";
 *
 * const uri = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (uri?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(uri);
 *   await using lock = await getLock("jobs", { backend });
 *   const connection = await createConnection(uri);
 *   await connection.beginTransaction();
 *   await lock.guard(connection satisfies MysqlConnection); // the lock cannot change hands before the commit
 *   await connection.commit();
 *   await connection.end();
 * }
 * ```
 */
export type MysqlConnection = { readonly connection: object } | { query(...parameters: never[]): unknown };

/** The settings of a pool that say where its server is, how it authenticates, and what the caller's values look like. */
const ADDRESS_SETTINGS = [
  "host",
  "port",
  "socketPath",
  "localAddress",
  "user",
  "password",
  "password1",
  "password2",
  "password3",
  "passwordSha1",
  "database",
  "ssl",
  "authPlugins",
  "authSwitchHandler",
  "insecureAuth",
  "enableCleartextPlugin",
  "stream",
  "timezone",
  "dateStrings",
  "decimalNumbers",
  "supportBigNumbers",
  "bigNumberStrings",
  "jsonStrings",
  "typeCast",
  "namedPlaceholders",
];

/** Returns the callback pool of a pool of either API; `undefined` for anything else. */
export function poolBehind(target: unknown): DriverPool | undefined {
  if (typeof target !== "object" || target === null) return undefined;
  const { pool } = target as { pool?: unknown };
  const candidate = (pool ?? target) as Partial<DriverPool>;
  return typeof candidate.getConnection === "function" && candidate.config ? candidate as DriverPool : undefined;
}

/** Returns the callback connection of a connection of either API; `undefined` for anything else, such as a pool. */
export function connectionBehind(client: unknown): DriverConnection | undefined {
  if (typeof client !== "object" || client === null) return undefined;
  const { connection } = client as { connection?: unknown };
  const candidate = (connection ?? client) as Partial<DriverConnection>;
  const isConnection = typeof candidate.query === "function" && candidate.threadId !== undefined;
  return isConnection ? candidate as DriverConnection : undefined;
}

/** Returns the settings of a pool that connections of our own need as well. */
export function addressSettings({ config: { connectionConfig } }: DriverPool): Record<string, unknown> {
  const known = ADDRESS_SETTINGS.filter((key) => connectionConfig[key] !== undefined);
  return Object.fromEntries(known.map((key) => [key, connectionConfig[key]]));
}

/** Returns how many idle connections a pool has; all it may have where the driver does not show them. */
export function idleConnections({ _freeConnections, config }: DriverPool): number {
  return _freeConnections?.length ?? config.connectionLimit ?? 0;
}

/** Whether all connections that a pool may have are in use; unknown, and then not, where the driver does not show them. */
export function isExhausted({ _allConnections, _freeConnections, config }: DriverPool): boolean {
  return (_allConnections?.length ?? 0) >= (config.connectionLimit || Infinity) && _freeConnections?.length === 0;
}

/** Borrows a connection of a pool. */
export function borrow(pool: DriverPool): Promise<DriverConnection> {
  return new Promise((resolve, reject) => {
    pool.getConnection((error, connection) => error ? reject(error) : resolve(connection));
  });
}

/** Returns the connection id that the server gave in its greeting; 0 before it. */
export function connectionId({ threadId }: DriverConnection): number {
  return threadId ?? 0;
}

/** Returns the port of the client's end, by which the server's process list tells connections apart. */
export function clientPort({ stream }: DriverConnection): number | undefined {
  return stream?.localPort;
}

/** Sets whether the connection keeps the process alive. */
export function setKeepAlive({ stream }: DriverConnection, keepAlive: boolean): void {
  if (keepAlive) stream?.ref?.();
  else stream?.unref?.();
}

/** Calls `listener` when the connection fails or is closed: an idle one that was killed emits no event but `close`. */
export function onClosed(connection: DriverConnection, listener: (error?: Error) => void): void {
  connection.on("error", (error) => listener(error ?? new Error("unknown error")));
  connection.on("end", () => listener());
  connection.stream?.on("close", () => listener());
}

/** Opens a connection; resolves once the server has authenticated it. Closes it when `signal` aborts before. */
export async function openConnection(config: Record<string, unknown>, signal: AbortSignal): Promise<DriverConnection> {
  const { createConnection } = await loadDriver();
  signal.throwIfAborted();
  const connection = createConnection(config);
  return await new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      connection.destroy();
      connection.stream?.destroy?.(); // destroy() waits until the server has closed its side
      reject(error);
    };
    const hangUp = () => fail(signal.reason);
    signal.addEventListener("abort", hangUp, { once: true });
    connection.on("error", () => {}); // without a listener some errors would end the process
    connection.connect((error) => {
      signal.removeEventListener("abort", hangUp);
      if (error) fail(error);
      else resolve(connection);
    });
  });
}

interface Driver {
  createConnection(config: object): DriverConnection & { connect(callback: (error: unknown) => void): void };
}

async function loadDriver(): Promise<Driver> {
  try {
    const module = await import("mysql2") as unknown as { default: Driver };
    return module.default;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new BackendError(`Cannot load the driver "mysql2": ${reason}; want its npm package, version 3`, {
      cause: error,
    });
  }
}

/** Returns a column as the server sent it. */
function asBytes(field: { buffer(): unknown }): unknown {
  return field.buffer();
}

/** Sends one statement. All columns are read as text, whatever the connection's settings are. */
export function send(connection: DriverConnection, sql: string): Promise<Answer> {
  // `null` and not an empty list: with a list the driver searches the whole text for placeholders.
  const options = {
    sql,
    values: null,
    rowsAsArray: true,
    nestTables: false,
    typeCast: typeof connection.config?.typeCast === "function" ? asBytes : false, // `false` does not override a function
    namedPlaceholders: false,
  };
  return new Promise((resolve, reject) => {
    connection.query(options, (error, result) => error ? reject(error) : resolve(read(result)));
  });
}

/** Sends one statement of the caller; the answer is the driver's own. */
export function sendAsIs<Result>(
  connection: DriverConnection,
  sql: string,
  values: readonly unknown[],
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const options = { sql, ...(values.length > 0 ? { values: [...values] } : {}) };
    connection.query(options, (error, result) => error ? reject(error) : resolve(result as Result));
  });
}

function read(result: unknown): Answer {
  if (!Array.isArray(result)) return changeOf(result as Record<string, unknown>);
  const rows = result.map((row: unknown[]) => row.map((value) => value === null ? null : String(value)));
  return { rows, insertId: 0n, affectedRows: 0, inTransaction: false, autocommit: true };
}
