import type { Backend } from "../../../core/backend.ts";
import { BackendError, LockLost, LockNotFound, LockTimeout, UnsupportedError } from "../../../core/errors.ts";
import { checkOptions, type KnownOptions } from "../../../core/options/known_options.ts";
import { warn } from "../../../core/util/runtime.ts";
import type { Connection } from "../connection/connection.ts";
import { type Connector, connectorOf } from "../connection/connector.ts";
import { READ_ONLY } from "../connection/server.ts";
import { identifier } from "../connection/inline_parameters.ts";
import { isLockWaitTimeout, notPrimary, translate } from "../errors.ts";
import { checkTimeout, DEFAULT_TIMEOUT, LONGEST_WAIT } from "./user_lock.ts";

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
  /**
   * Seconds to wait for the tables; fractions are allowed, `Infinity` waits without limit. A transaction of the same
   * program that has used a table keeps it until it ends: the program would wait for itself. @default 10
   */
  acquireTimeout?: number;
}

const OPTIONS: KnownOptions<TableLockOptions> = {
  acquireTimeout: "number",
  read: "object",
  write: "object",
  backend: "object",
};

/** The shortest wait (ms): MySQL has no form without one. */
const SHORTEST_WAIT_MS = 100;
/** Seconds of silence after which the server ends the connection of a holder: its own default, eight hours. */
const IDLE_SECONDS = 28_800;

/** Checks a list of tables and removes duplicates. */
function checkedTables(what: string, tables: unknown): string[] {
  if (!Array.isArray(tables)) throw new TypeError(`Cannot use ${what}: want a list of table names`);
  for (const table of tables) {
    if (typeof table === "string" && /^[^.\0]+(\.[^.\0]+)?$/.test(table)) continue;
    throw new TypeError(`Cannot lock table ${JSON.stringify(table)}: want "table" or "database.table"`);
  }
  return [...new Set(tables as string[])];
}

function quoted(table: string): string {
  return table.split(".").map(identifier).join(".");
}

/**
 * Locks tables for reading and writing, with a transaction: `LOCK TABLES` after `autocommit` was switched off, as the
 * MySQL manual describes for InnoDB. Statements go through the handle, on the connection that holds the locks; only the
 * locked tables can be used there.
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
  /** Tables to read. */
  readonly read: readonly string[];
  /** Tables to read and write. */
  readonly write: readonly string[];
  /** Seconds to wait for the tables. */
  readonly acquireTimeout: number;
  readonly #connector: Connector;
  readonly #list: string;
  readonly #names: string;

  /**
   * Makes a lock object; the server is not contacted.
   *
   * @throws {TypeError | RangeError} For invalid tables or options.
   */
  constructor(options: TableLockOptions) {
    checkOptions("of TableLock", options, OPTIONS);
    const { read = [], write = [], acquireTimeout = DEFAULT_TIMEOUT, backend }: Partial<TableLockOptions> = options ??
      {};
    const writes = checkedTables("write", write);
    const reads = checkedTables("read", read).filter((table) => !writes.includes(table)); // WRITE includes READ
    if (reads.length + writes.length === 0) throw new TypeError("Cannot lock no table: want at least one");
    checkTimeout(acquireTimeout);
    this.read = read;
    this.write = write;
    this.acquireTimeout = acquireTimeout;
    this.#names = [...reads, ...writes].join(", ");
    this.#list = [
      ...reads.map((table) => `${quoted(table)} READ`),
      ...writes.map((table) => `${quoted(table)} WRITE`),
    ].join(", ");
    this.#connector = connectorOf(backend, `lock tables ${this.#names}`);
  }

  /**
   * Locks the tables.
   *
   * @throws {LockTimeout} When other clients use them for longer than `acquireTimeout`.
   * @throws {BackendError} When a table does not exist, or the server could not answer: at once. Nothing stays locked.
   */
  async acquire(): Promise<HeldTableLock> {
    const what = `lock tables ${this.#names}`;
    const connection = await this.#connector.connect(what, IDLE_SECONDS);
    const seconds = Math.min(Math.max(Math.ceil(this.acquireTimeout), 1), LONGEST_WAIT);
    try {
      // For the row locks of the caller's statements the server's own limit holds.
      const settings = "innodb_lock_wait_timeout = @@GLOBAL.innodb_lock_wait_timeout";
      await connection.query(`SET autocommit = 0, lock_wait_timeout = ${seconds}, ${settings}`);
      const timeout = this.acquireTimeout === Infinity
        ? Infinity
        : Math.max(this.acquireTimeout * 1e3, SHORTEST_WAIT_MS);
      if (this.write.length > 0) this.#connector.refuseDemoted(what, this.#connector.known!);
      await connection.query(`LOCK TABLES ${this.#list}`, timeout);
      if (this.write.length > 0) await this.#requirePrimary(connection);
      await connection.query(SERVER_SETTINGS); // those of lockmgr are not for the caller's statements
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
      if (held.held) await held.rollback().catch(warn); // the error of the body is the one to throw
      throw error;
    }
    await held.release().catch((error) => {
      if (error instanceof LockLost || !(error instanceof LockNotFound)) throw error; // otherwise the body has ended it
    });
    return result;
  }

  /** On a replica privileged users may lock tables for writing, without effect on the primary. */
  async #requirePrimary(connection: Connection): Promise<void> {
    const { rows: [[readOnly]] } = await connection.query(`SELECT ${READ_ONLY}`);
    if (readOnly !== "0") throw notPrimary();
  }

  /** Ends the connection, and its wait at the server. */
  async #giveUp(what: string, connection: Connection, error: unknown): Promise<Error> {
    const isLate = (error as { code?: string }).code === "ETIMEDOUT";
    connection.end(error as Error);
    const answers = await this.#connector.gone(connection);
    if (isLockWaitTimeout(error) || (isLate && answers)) return new LockTimeout(this.#names, this.acquireTimeout);
    return translate(what, error);
  }
}

/** The settings that the server gives a connection: by them it reads and writes times, and what a statement may say. */
const SERVER_SETTINGS = "SET time_zone = @@GLOBAL.time_zone, sql_mode = @@GLOBAL.sql_mode";

/** Comments, and what marks one whose text is run. Each match ends, also where none closes: otherwise 180 kB take 0.8 s. */
const COMMENTS = /\/\*M?!\d*|\*\/|\/\*.*?(?:\*\/|$)|(?:--\s|#).*?(?:\n|$)/gs;
/** Statements that silently release the table locks or change the transaction. */
const RELEASES =
  /^\s*(?:START\s+TRANSACTION|BEGIN|(?:UN)?LOCK\s+TABLES?|(?:COMMIT|ROLLBACK)\b.*\bAND\s+CHAIN|SET\b.*\bautocommit)\b/is;

/**
 * Locked tables, and the transaction on the connection that locked them. Made by `TableLock.acquire`.
 *
 * @example
 * ```ts
 * import { mysqlBackend, TableLock } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url, { table: "my_locks" });
 *   await using held = await new TableLock({ write: ["my_locks"], backend }).acquire();
 *   await held.query("UPDATE my_locks SET locked_by = ? WHERE locked_until = 0", ["unknown"]);
 *   await held.release(); // commits; otherwise the change is rolled back
 * }
 * ```
 */
export class HeldTableLock implements AsyncDisposable {
  readonly #connection: Connection;
  readonly #names: string;
  #over = false;

  /** Made by this library on a connection that has locked the tables. */
  constructor(connection: Connection, names: string) {
    this.#connection = connection;
    this.#names = names;
  }

  /** Whether the tables are still locked, as far as this process knows. */
  get held(): boolean {
    return !this.#over && !this.#connection.ended;
  }

  /**
   * Runs one statement on the locked connection, in its transaction.
   *
   * @param sql One statement with `?` for each parameter.
   * @param parameters The values, as mysql2's `query` takes them.
   * @returns What mysql2 answers: rows, or for a change an object with `affectedRows` and `insertId`.
   * @throws {UnsupportedError} For a statement that would release the locks, such as START TRANSACTION.
   * @throws {LockLost | LockNotFound} When the tables are no longer locked.
   * @throws {BackendError} When the server refused the statement, or could not answer.
   */
  async query<Result = Record<string, unknown>[]>(sql: string, parameters: readonly unknown[] = []): Promise<Result> {
    this.#requireHeld();
    if (RELEASES.test(sql.replace(COMMENTS, " "))) {
      throw new UnsupportedError(`Cannot run ${JSON.stringify(sql)}: it would release the locks; want release()`);
    }
    try {
      return await this.#connection.queryAsIs<Result>(sql, parameters);
    } catch (error) {
      throw translate(`query locked tables ${this.#names}`, error);
    }
  }

  /**
   * Commits, and unlocks the tables.
   *
   * @throws {LockLost | LockNotFound} When the tables are no longer locked: nothing was committed.
   * @throws {BackendError} When the server refused or did not answer; the tables are unlocked in any case.
   */
  release(): Promise<void> {
    return this.#finish("COMMIT");
  }

  /**
   * Rolls back, and unlocks the tables.
   *
   * @throws {LockLost | LockNotFound} When the tables are no longer locked: everything was rolled back.
   * @throws {BackendError} When the server did not answer; the tables are unlocked in any case.
   */
  rollback(): Promise<void> {
    return this.#finish("ROLLBACK");
  }

  /** Rolls back and unlocks what is still held. A failure becomes a warning. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.held) await this.rollback().catch(warn);
  }

  /** Ends the connection afterwards, and with it everything that it may still hold. */
  async #finish(how: "COMMIT" | "ROLLBACK"): Promise<void> {
    this.#requireHeld();
    this.#over = true;
    try {
      await this.#connection.query(how);
      await this.#connection.query("UNLOCK TABLES");
    } catch (error) {
      throw translate(`${how.toLowerCase()} and unlock tables ${this.#names}`, error);
    } finally {
      this.#connection.end(new BackendError("Cannot go on: the tables were unlocked"), true);
    }
  }

  #requireHeld(): void {
    if (this.#over) throw new LockNotFound(this.#names, `Cannot use tables ${this.#names}: they were unlocked`);
    const { ended } = this.#connection;
    if (ended) throw new LockLost(this.#names, "the connection that held it has ended", { cause: ended });
  }
}
