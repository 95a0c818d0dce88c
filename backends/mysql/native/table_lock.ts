import type { Backend } from "../../../core/backend.ts";
import { LockTimeout } from "../../../core/errors.ts";
import { warn } from "../../../core/util/runtime.ts";
import type { Connection } from "../connection/connection.ts";
import { type Connector, connectorOf } from "../connection/connector.ts";
import { isLockWaitTimeout, notPrimary, translate } from "../errors.ts";
import { HeldTableLock } from "./held_table_lock.ts";
import { READ_ONLY } from "../connection/server.ts";
import { identifier } from "../connection/sql.ts";

/**
 * Options of a table lock.
 *
 * @example
 * ```ts
 * import { mysqlBackend, TableLock, type TableLockOptions } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url, { table: "my_locks" });
 *   const options: TableLockOptions = { read: ["my_locks"], acquireTimeout: 5, backend };
 *   await using held = await new TableLock(options).acquire();
 *   console.log(held.held);
 * }
 * ```
 */
export interface TableLockOptions {
  /** A backend that `mysqlBackend` made, in whatever mode: the tables are on that server. */
  backend: Backend;
  /** Tables to read, as `table` or `database.table`. */
  read?: readonly string[];
  /** Tables to read and write. */
  write?: readonly string[];
  /** Seconds to wait for the tables, fractions allowed. @default Infinity */
  acquireTimeout?: number;
}

/** The longest wait that the servers know, in seconds: a year. */
const LONGEST = 31_536_000;
/** MySQL cannot be told not to wait: so long is waited at least (ms). */
const SHORTEST = 100;
/** Seconds of silence after which the server may give up the connection of a holder: its own default, eight hours. */
const IDLE = 28_800;

/** The tables of a list, each once. */
function checked(what: string, tables: unknown): string[] {
  if (!Array.isArray(tables)) throw new TypeError(`Cannot use ${what}: want a list of table names`);
  for (const table of tables) {
    if (typeof table === "string" && /^[^.\0]+(\.[^.\0]+)?$/.test(table)) continue;
    throw new TypeError(`Cannot lock table ${JSON.stringify(table)}: want "table" or "database.table"`);
  }
  return [...new Set(tables as string[])];
}

/** A table's name in SQL. */
function quoted(table: string): string {
  return table.split(".").map(identifier).join(".");
}

/**
 * Locks tables for reading and writing, with a transaction: `LOCK TABLES` after `autocommit` was switched off, as the
 * MySQL manual has it for InnoDB. Statements go through the handle, on the connection that holds the locks; only the
 * tables that were locked can be used there.
 *
 * @example
 * ```ts
 * import { mysqlBackend, TableLock } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url, { table: "my_locks" });
 *   const lock = new TableLock({ read: ["my_locks"], acquireTimeout: 5, backend });
 *   const rows = await lock.run((held) => held.query("SELECT COUNT(*) AS locks FROM my_locks"));
 *   console.log(rows[0].locks);
 * }
 * ```
 */
export class TableLock {
  /** Tables to read: never touched here. */
  readonly read: readonly string[];
  /** Tables to read and write: never touched here. */
  readonly write: readonly string[];
  /** Seconds to wait for the tables. */
  readonly acquireTimeout: number;
  readonly #connector: Connector;
  readonly #list: string;
  readonly #names: string;

  /**
   * Makes a lock, without asking the server.
   *
   * @throws {TypeError | RangeError} For tables or options that cannot be.
   */
  constructor({ read = [], write = [], acquireTimeout = Infinity, backend }: TableLockOptions) {
    const writes = checked("write", write);
    const reads = checked("read", read).filter((table) => !writes.includes(table)); // who may write may read
    if (reads.length + writes.length === 0) throw new TypeError("Cannot lock no table: want at least one");
    if (typeof acquireTimeout !== "number") throw new TypeError("Cannot use this acquireTimeout: want seconds");
    if (!(acquireTimeout >= 0)) throw new RangeError(`Cannot use acquireTimeout ${acquireTimeout}: want 0 or more`);
    this.read = read;
    this.write = write;
    this.acquireTimeout = acquireTimeout;
    this.#names = [...reads, ...writes].join(", ");
    const parts = [
      ...reads.map((table) => `${quoted(table)} READ`),
      ...writes.map((table) => `${quoted(table)} WRITE`),
    ];
    this.#list = parts.join(", ");
    this.#connector = connectorOf(backend, `lock tables ${this.#names}`);
  }

  /**
   * Locks the tables.
   *
   * @throws {LockTimeout} When others use them for longer than `acquireTimeout`.
   * @throws {BackendError} When a table is not there, or the server could not answer. Nothing stays locked.
   */
  async acquire(): Promise<HeldTableLock> {
    const what = `lock tables ${this.#names}`;
    const connection = await this.#connector.connect(what, IDLE);
    const seconds = Math.min(Math.max(Math.ceil(this.acquireTimeout), 1), LONGEST);
    try {
      // The row locks of the caller's statements are waited for as the server is set up.
      const settings = "innodb_lock_wait_timeout = @@GLOBAL.innodb_lock_wait_timeout";
      await connection.query(`SET autocommit = 0, lock_wait_timeout = ${seconds}, ${settings}`);
      const patience = this.acquireTimeout === Infinity ? Infinity : Math.max(this.acquireTimeout * 1e3, SHORTEST);
      if (this.write.length > 0) this.#connector.refuseDemoted(what, this.#connector.known!);
      await connection.query(`LOCK TABLES ${this.#list}`, patience);
      if (this.write.length > 0) await this.#requirePrimary(connection);
      return new HeldTableLock(connection, this.#names);
    } catch (error) {
      throw await this.#giveUp(what, connection, error);
    }
  }

  /**
   * Locks the tables while `body` runs: commits when it returns and rolls back when it throws.
   *
   * @throws What `body` throws, and what `acquire` and `release` throw.
   */
  async run<T>(body: (held: HeldTableLock) => T | Promise<T>): Promise<T> {
    const held = await this.acquire();
    let result: T;
    try {
      result = await body(held);
    } catch (error) {
      if (held.held) await held.rollback().catch(warn); // the body's error is the one to tell of
      throw error;
    }
    if (held.held) await held.release();
    return result;
  }

  /** A replica lets tables be locked for writing by those who may write there; the primary does not know of it. */
  async #requirePrimary(connection: Connection): Promise<void> {
    const { rows: [[readOnly]] } = await connection.query(`SELECT ${READ_ONLY}`);
    if (readOnly !== "0") throw notPrimary();
  }

  /** Ends the connection, and on the server the wait that it may still be in. */
  async #giveUp(what: string, connection: Connection, error: unknown): Promise<Error> {
    const late = (error as { code?: string }).code === "ETIMEDOUT";
    connection.end(error as Error);
    await this.#connector.gone(connection);
    if (late || isLockWaitTimeout(error)) return new LockTimeout(this.#names, this.acquireTimeout);
    return translate(what, error);
  }
}
