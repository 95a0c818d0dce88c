/**
 * What is used of npm:mysql2, by shape: the driver itself is loaded when a connection is first opened.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";

/** What mysql2 answers to a statement that returns no rows. */
interface Header {
  readonly insertId: number | string;
  readonly affectedRows: number;
  readonly serverStatus?: number;
}

/** A connection of mysql2's callback API; its promise API wraps one. */
export interface DriverConnection {
  /** The connection id that the server gave in its greeting. */
  readonly threadId: number | null;
  /** The connection's own settings. */
  readonly config?: { readonly typeCast?: unknown };
  /** The socket. */
  readonly stream?: { readonly localPort?: number; ref?(): void; unref?(): void; destroy?(): void };
  query(options: object, callback: (error: unknown, result: unknown) => void): unknown;
  on(event: string, listener: (error?: Error) => void): unknown;
  destroy(): void;
  /** Gives a connection of a pool back. */
  release?(): void;
}

/** A pool of mysql2's callback API. */
export interface DriverPool {
  /** The pool's settings. */
  readonly config: { readonly connectionConfig: Record<string, unknown>; readonly connectionLimit?: number };
  /** Its idle connections, where the driver shows them. */
  readonly _freeConnections?: { readonly length: number };
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
 *   await lock.guard(connection satisfies MysqlConnection); // nobody takes the lock before the commit
 *   await connection.commit();
 *   await connection.end();
 * }
 * ```
 */
export type MysqlConnection = { readonly connection: object } | { query(...parameters: never[]): unknown };

/** What the server answered: rows as text, or what a statement changed. */
export interface Answer {
  /** The rows, each column as text. */
  readonly rows: readonly (readonly (string | null)[])[];
  /** What `LAST_INSERT_ID(…)` was given in the statement; 0 for nothing. */
  readonly insertId: bigint;
  /** How many rows it changed, or found when the client asks for found rows. */
  readonly affectedRows: number;
  /** Whether a transaction is open on the connection afterwards; not known after rows. */
  readonly inTransaction: boolean;
  /** Whether each statement is a transaction of its own; not known after rows. */
  readonly autocommit: boolean;
}

/** The bit of the status flags that says so (https://dev.mysql.com/doc/dev/mysql-server/latest/mysql__com_8h.html). */
const SERVER_STATUS_IN_TRANS = 1;
/** The bit that says whether each statement is a transaction of its own. */
const SERVER_STATUS_AUTOCOMMIT = 2;

/** The callback pool behind whatever kind of pool; `undefined` for anything else. */
export function poolBehind(target: unknown): DriverPool | undefined {
  if (typeof target !== "object" || target === null) return undefined;
  const { pool } = target as { pool?: unknown };
  const candidate = (pool ?? target) as Partial<DriverPool>;
  return typeof candidate.getConnection === "function" && candidate.config ? candidate as DriverPool : undefined;
}

/** The callback connection behind whatever kind of connection; `undefined` for anything else, such as a pool. */
export function connectionBehind(client: unknown): DriverConnection | undefined {
  if (typeof client !== "object" || client === null) return undefined;
  const { connection } = client as { connection?: unknown };
  const candidate = (connection ?? client) as Partial<DriverConnection>;
  const isConnection = typeof candidate.query === "function" && candidate.threadId !== undefined;
  return isConnection ? candidate as DriverConnection : undefined;
}

/** Opens a connection; resolves when the server has let it in. Hangs up when `signal` aborts before. */
export async function openConnection(config: Record<string, unknown>, signal: AbortSignal): Promise<DriverConnection> {
  const { createConnection } = await loadDriver();
  signal.throwIfAborted();
  const connection = createConnection(config);
  return await new Promise((resolve, reject) => {
    const fail = (error: unknown) => {
      connection.destroy();
      connection.stream?.destroy?.(); // the driver would wait for the server's farewell
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
    throw new BackendError('Cannot load the driver: want npm package "mysql2", version 3', { cause: error });
  }
}

/** Reads a column as it came. */
function asBytes(field: { buffer(): unknown }): unknown {
  return field.buffer();
}

/** Sends one statement. Everything is read as text, whatever the connection's own settings are. */
export function send(connection: DriverConnection, sql: string): Promise<Answer> {
  // Without values the driver has nothing to look for in the text: an empty list would make it read every letter.
  const options = {
    sql,
    values: null,
    rowsAsArray: true,
    nestTables: false,
    typeCast: typeof connection.config?.typeCast === "function" ? asBytes : false, // false would not overrule it
    namedPlaceholders: false,
  };
  return new Promise((resolve, reject) => {
    connection.query(options, (error, result) => error ? reject(error) : resolve(read(result)));
  });
}

/** Sends one statement of the caller's; the answer is the driver's own. */
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
  if (Array.isArray(result)) {
    const rows = result.map((row: unknown[]) => row.map((value) => value === null ? null : String(value)));
    return { rows, insertId: 0n, affectedRows: 0, inTransaction: false, autocommit: true };
  }
  const { insertId, affectedRows, serverStatus = SERVER_STATUS_AUTOCOMMIT } = result as Header;
  const inTransaction = (serverStatus & SERVER_STATUS_IN_TRANS) !== 0;
  const autocommit = (serverStatus & SERVER_STATUS_AUTOCOMMIT) !== 0;
  return { rows: [], insertId: BigInt(insertId), affectedRows, inTransaction, autocommit };
}
