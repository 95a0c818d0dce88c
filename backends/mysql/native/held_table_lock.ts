import { BackendError, LockLost, LockNotFound, UnsupportedError } from "../../../core/errors.ts";
import { warn } from "../../../core/util/runtime.ts";
import type { Connection } from "../connection/connection.ts";
import { translate } from "../errors.ts";

/** Statements that would silently give the table locks up, or the transaction's rules. */
const GIVES_UP = /^\s*(?:START\s+TRANSACTION|BEGIN|(?:UN)?LOCK\s+TABLES?|SET\s+(?:SESSION\s+|@@)?autocommit)\b/i;

/**
 * Tables that are locked, and the transaction on the connection that locked them. Made by `TableLock.acquire`.
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
 *   await held.query("UPDATE my_locks SET locked_by = ? WHERE locked_until = 0", ["nobody"]);
 *   await held.release(); // without it, the change is rolled back
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
   * @throws {UnsupportedError} For a statement that would give the locks up, such as START TRANSACTION.
   * @throws {LockLost | LockNotFound} When the tables are no longer locked.
   * @throws {BackendError} When the server refused the statement, or could not answer.
   */
  async query<Result = Record<string, unknown>[]>(sql: string, parameters: readonly unknown[] = []): Promise<Result> {
    this.#requireHeld();
    if (GIVES_UP.test(sql)) {
      throw new UnsupportedError(`Cannot run ${JSON.stringify(sql)}: it would give the locks up; want release()`);
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
   * @throws {BackendError} When the server refused or did not answer; the tables are unlocked whatever happened.
   */
  release(): Promise<void> {
    return this.#finish("COMMIT");
  }

  /**
   * Rolls back, and unlocks the tables.
   *
   * @throws {LockLost | LockNotFound} When the tables are no longer locked: everything was rolled back then.
   * @throws {BackendError} When the server did not answer; the tables are unlocked whatever happened.
   */
  rollback(): Promise<void> {
    return this.#finish("ROLLBACK");
  }

  /** Rolls back and unlocks what is still held. A failure becomes a warning. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.held) await this.rollback().catch(warn);
  }

  /** The connection is not used again: it ends, and with it whatever it may still hold. */
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
