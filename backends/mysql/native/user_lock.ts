import { BackendError, LockLost, LockNotFound, LockTimeout, UnsupportedError } from "../../../core/errors.ts";
import { warn } from "../../../core/util/runtime.ts";
import { type Connector, connectorOf } from "../connection/connector.ts";
import { isInterruption, translate } from "../errors.ts";
import { getLock } from "./get_lock.ts";
import { heldUserLocks } from "./held_user_locks.ts";
import { MysqlSession } from "../session/session.ts";
import { whyNoSessions } from "../connection/server.ts";
import { text } from "../connection/sql.ts";
import { checkUserLock, DEFAULT_TIMEOUT, type UserLockOptions } from "./user_lock_options.ts";

/** The longest name that MySQL takes, in characters. */
const LONGEST = 64;

/**
 * MySQL's and MariaDB's own lock by name (`GET_LOCK`), under the name that django-mysql gives it, `database.name`, so
 * that both programs exclude each other. Each lock that is held rides on a connection of its own; acquiring it again
 * through the same object counts, as it does on the server.
 *
 * @example
 * ```ts
 * import { mysqlBackend, UserLock } from "@lockmgr/lockmgr/mysql";
 * import assert from "node:assert/strict";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url);
 *   await using lock = new UserLock("my_unique_name", { acquireTimeout: 2, backend });
 *   await lock.acquire();
 *   assert.equal(await lock.isHeld(), true);
 * }
 * ```
 */
export class UserLock implements AsyncDisposable {
  /** The name, without the database. */
  readonly name: string;
  /** Seconds to wait for it. */
  readonly acquireTimeout: number;
  readonly #connector: Connector;
  #session: MysqlSession | undefined;
  #count = 0;
  #turn: Promise<unknown> = Promise.resolve();

  /**
   * Makes a lock, without asking the server.
   *
   * @throws {TypeError | RangeError} For a name or an option that cannot be.
   */
  constructor(name: string, { acquireTimeout = DEFAULT_TIMEOUT, backend }: UserLockOptions) {
    checkUserLock(name, acquireTimeout);
    this.name = name;
    this.acquireTimeout = acquireTimeout;
    this.#connector = connectorOf(backend, `make user lock ${JSON.stringify(name)}`);
  }

  /**
   * Takes the lock.
   *
   * @throws {LockTimeout} When another holds it for longer than `acquireTimeout`.
   * @throws {UnsupportedError} Where GET_LOCK does not hold: Galera, a multi-primary group, Vitess, TiDB, a replica.
   * @throws {RangeError} When the name, with its database, is longer than MySQL takes: 64 characters.
   * @throws {BackendError} When the server could not answer.
   */
  acquire(): Promise<this> {
    return this.#inTurn(async () => {
      if (this.#count > 0 && !this.#session!.ended) this.#count++;
      else {
        this.#session = await this.#take();
        this.#count = 1;
      }
      return this;
    });
  }

  /**
   * Releases the lock.
   *
   * @throws {LockNotFound} When this object does not hold it; `LockLost` when it did and its connection ended.
   */
  release(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#count === 0) throw new LockNotFound(this.name, `Cannot release lock ${this.#quoted}: it is not held`);
      const session = this.#session!;
      if (session.ended) throw this.#lost(session.ended);
      if (--this.#count > 0) return;
      await this.#free(session);
    });
  }

  /**
   * Whether anybody holds the lock, as the server says.
   *
   * @throws {BackendError} When the server could not answer.
   */
  async isHeld(): Promise<boolean> {
    return await this.holdingConnectionId() !== null;
  }

  /**
   * The id of the connection that holds the lock (`CONNECTION_ID()`), or `null` when nobody does.
   *
   * @throws {BackendError} When the server could not answer.
   */
  async holdingConnectionId(): Promise<number | null> {
    const what = `look at lock ${this.#quoted}`;
    await this.#connector.ask(what, "DO 0"); // knows the server, and with it the database
    const { rows: [[id]] } = await this.#connector.askPrimary(what, `SELECT IS_USED_LOCK(${text(this.#serverName())})`);
    return id === null ? null : Number(id);
  }

  /**
   * Which locks of this database are held whose names begin so, and by which connections. `_` and `%` mean themselves.
   * MySQL, which folds the case of lock names, gives them in lower case.
   *
   * @throws {UnsupportedError} When the server does not let this user see the locks: on MySQL that takes SELECT on
   * `performance_schema`, on MariaDB the plugin `metadata_lock_info`.
   * @throws {BackendError} When the server could not answer.
   */
  static heldWithPrefix(prefix: string, { backend }: Pick<UserLockOptions, "backend">): Promise<Map<string, number>> {
    return heldUserLocks(prefix, connectorOf(backend, "list user locks"));
  }

  /** Releases the lock if this object holds it, however often it was acquired. A failure becomes a warning. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inTurn(async () => {
      const session = this.#session;
      if (this.#count > 0 && session && !session.ended) await this.#free(session);
      this.#count = 0;
    }).catch(warn);
  }

  get #quoted(): string {
    return JSON.stringify(this.name);
  }

  /** The name on the server, once the server is known. */
  #serverName(): string {
    const name = `${this.#connector.database}.${this.name}`;
    if (this.#connector.known!.kind === "mysql" && [...name].length > LONGEST) {
      throw new RangeError(`Cannot use lock name ${JSON.stringify(name)} on MySQL: want at most ${LONGEST} characters`);
    }
    return name;
  }

  /** One call after the other. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work);
    this.#turn = result.catch(() => {});
    return result;
  }

  async #take(): Promise<MysqlSession> {
    const what = `acquire lock ${this.#quoted}`;
    const { sessionTimeout, answerTimeout } = this.#connector.target.options;
    const connection = await this.#connector.connect(what, sessionTimeout);
    try {
      this.#connector.refuseDemoted(what, this.#connector.known!);
      const reason = whyNoSessions(this.#connector.known!);
      if (reason) throw new UnsupportedError(`Cannot ${what}: ${reason}; want a lock in "lease" mode`);
      const sql = getLock(text(this.#serverName()), this.acquireTimeout, this.#connector.known!.kind);
      const { rows: [[got]] } = await connection.query(sql, (this.acquireTimeout + answerTimeout) * 1e3).catch(
        (error) => {
          if (isInterruption(error) && error.errno !== 1317) return { rows: [["0"]] }; // the wait was over
          throw error;
        },
      );
      if (got === "0") throw new LockTimeout(this.name, this.acquireTimeout);
      if (got === null) throw new BackendError(`Cannot ${what}: the wait was interrupted`, { retryable: true });
      const session = MysqlSession.over(this.#connector, connection, sessionTimeout);
      await session.queryPrimary("SELECT 1"); // the wait may have outlasted a change of primary
      return session;
    } catch (error) {
      const answered = error instanceof LockTimeout;
      connection.end(error as Error, answered);
      if (!answered) await this.#connector.gone(connection); // it may have been granted, or may be yet
      throw translate(what, error);
    }
  }

  async #free(session: MysqlSession): Promise<void> {
    this.#count = 0;
    try {
      const { rows: [[released]] } = await session.queryPrimary(`SELECT RELEASE_LOCK(${text(this.#serverName())})`);
      if (released !== "1") throw this.#lost();
    } catch (error) {
      if (session.ended) throw this.#lost(session.ended); // the server frees what an ended connection held
      throw translate(`release lock ${this.#quoted}`, error);
    } finally {
      session.end(new BackendError("Cannot go on: the lock was released"), true);
    }
  }

  #lost(cause?: Error): LockLost {
    this.#count = 0;
    return new LockLost(this.name, "the connection that held it has ended", cause && { cause });
  }
}
