import type { Backend } from "../../../core/backend.ts";
import { BackendError, LockLost, LockNotFound, LockTimeout, UnsupportedError } from "../../../core/errors.ts";
import { checkOptions, type KnownOptions } from "../../../core/options/known_options.ts";
import { warn } from "../../../core/util/runtime.ts";
import { type Connector, connectorOf } from "../connection/connector.ts";
import { whyNoSessions } from "../connection/server.ts";
import { text } from "../connection/inline_parameters.ts";
import { isDenied, isInterruption, isMissingView, translate } from "../errors.ts";
import { MysqlSession } from "../session/session.ts";

/**
 * Options of a user lock.
 *
 * @example
 * ```ts
 * import { mysqlBackend, UserLock, type UserLockOptions } from "@lockmgr/lockmgr/mysql";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL; // such as mysql://user:password@localhost/database
 * if (url?.startsWith("mysql:")) {
 *   await using backend = await mysqlBackend(url);
 *   const options: UserLockOptions = { backend, acquireTimeout: 0.5 };
 *   console.log(await new UserLock("my_unique_name", options).isHeld());
 * }
 * ```
 */
export interface UserLockOptions {
  /** A backend that `mysqlBackend` made, in whatever mode: the lock is taken on that server. */
  backend: Backend;
  /** Seconds to wait for the lock, fractions are allowed, 0 does not wait, `Infinity` waits without limit. @default 10 */
  acquireTimeout?: number;
}

const OPTIONS: KnownOptions<UserLockOptions> = { acquireTimeout: "number", backend: "object" };

/** The default of `acquireTimeout` (s), as in django-mysql. */
export const DEFAULT_TIMEOUT = 10;
/** The longest wait that the servers accept (s): a year. */
export const LONGEST_WAIT = 31_536_000;
/** The longest name on MySQL, in characters. */
const LONGEST_NAME = 64;

/**
 * MySQL's and MariaDB's own lock by name (`GET_LOCK`), under the name that django-mysql uses, `database.name`: both
 * programs exclude each other. Each held lock has a connection of its own. Acquiring it again through the same object
 * increments a count, as it does on the server; another object of the same name waits, in the same process too.
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
  #last: Promise<unknown> = Promise.resolve();

  /**
   * Makes a lock object; the server is not contacted.
   *
   * @throws {TypeError | RangeError} For an invalid name or option.
   */
  constructor(name: string, options: UserLockOptions) {
    checkOptions("of UserLock", options, OPTIONS);
    const { acquireTimeout = DEFAULT_TIMEOUT, backend }: Partial<UserLockOptions> = options ?? {};
    checkName(name);
    checkTimeout(acquireTimeout);
    this.name = name;
    this.acquireTimeout = acquireTimeout;
    this.#connector = connectorOf(backend, `make user lock ${JSON.stringify(name)}`);
  }

  /**
   * Acquires the lock.
   *
   * @throws {LockTimeout} When another client holds it for longer than `acquireTimeout`.
   * @throws {UnsupportedError} Where GET_LOCK does not hold: Galera, a multi-primary group, Vitess, TiDB, a replica.
   * @throws {RangeError} When the name, with its database, is longer than 64 characters on MySQL.
   * @throws {BackendError} When the server could not answer: an outage ends the wait at once.
   */
  acquire(): Promise<this> {
    return this.#inOrder(async () => {
      if (this.#count > 0 && !this.#session!.ended) this.#count++;
      else {
        this.#session = await this.#acquire();
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
    return this.#inOrder(async () => {
      if (this.#count === 0) throw new LockNotFound(this.name, `Cannot release lock ${this.#quoted}: it is not held`);
      const session = this.#session!;
      if (session.ended) throw this.#lost(session.ended);
      if (--this.#count > 0) return;
      await this.#release(session);
    });
  }

  /**
   * Returns whether any client holds the lock.
   *
   * @throws {BackendError} When the server could not answer.
   */
  async isHeld(): Promise<boolean> {
    return await this.holdingConnectionId() !== null;
  }

  /**
   * Returns the id of the connection that holds the lock (`CONNECTION_ID()`); `null` when it is free.
   *
   * @throws {BackendError} When the server could not answer.
   */
  async holdingConnectionId(): Promise<number | null> {
    const what = `look at lock ${this.#quoted}`;
    await this.#connector.ask(what, "DO 0"); // after it the server is known, and with it the database
    const { rows: [[id]] } = await this.#connector.askPrimary(what, `SELECT IS_USED_LOCK(${text(this.#serverName())})`);
    return id === null ? null : Number(id);
  }

  /**
   * Returns the held locks of this database whose names begin with `prefix`, each with the connection that holds it. `_`
   * and `%` are no wildcards. MySQL, which folds the case of lock names, returns them in lower case.
   *
   * @throws {UnsupportedError} When this user may not see the locks: MySQL requires SELECT on `performance_schema`, MariaDB
   * the plugin `metadata_lock_info`.
   * @throws {BackendError} When the server could not answer.
   */
  static async heldWithPrefix(
    prefix: string,
    options: Pick<UserLockOptions, "backend">,
  ): Promise<Map<string, number>> {
    checkOptions("of heldWithPrefix", options, { backend: "object" });
    return await heldUserLocks(prefix, connectorOf(options?.backend, "list user locks"));
  }

  /** Releases the lock if this object holds it, however often it was acquired. A failure becomes a warning. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#inOrder(async () => {
      const session = this.#session;
      if (this.#count > 0 && session && !session.ended) await this.#release(session);
      this.#count = 0;
    }).catch(warn);
  }

  get #quoted(): string {
    return JSON.stringify(this.name);
  }

  /** The name on the server, once the server is known. */
  #serverName(): string {
    const name = `${this.#connector.database}.${this.name}`;
    if (this.#connector.known!.kind === "mysql" && [...name].length > LONGEST_NAME) {
      throw new RangeError(
        `Cannot use lock name ${JSON.stringify(name)} on MySQL: want at most ${LONGEST_NAME} characters`,
      );
    }
    return name;
  }

  /** Runs the calls of this object one after the other. */
  #inOrder<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => {});
    return result;
  }

  async #acquire(): Promise<MysqlSession> {
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
      const session = new MysqlSession(this.#connector, connection, sessionTimeout);
      await session.queryPrimary("SELECT 1"); // the wait may have outlasted a change of primary
      return session;
    } catch (error) {
      const isAnswered = error instanceof LockTimeout;
      connection.end(error as Error, isAnswered);
      if (!isAnswered) await this.#connector.gone(connection); // it may have been granted, or be granted later
      throw translate(what, error);
    }
  }

  async #release(session: MysqlSession): Promise<void> {
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

/** Checks the name of a user lock. */
function checkName(name: unknown): void {
  if (typeof name !== "string" || name.includes("\0") || !name.isWellFormed()) {
    throw new TypeError("Cannot use this as a name: want a string without NUL and lone surrogates");
  }
  if (name === "") throw new RangeError("Cannot use an empty name: want at least one character");
}

/**
 * Checks how long to wait for a lock of the server.
 *
 * @throws {TypeError | RangeError} For what is no number of seconds.
 */
export function checkTimeout(acquireTimeout: unknown): void {
  if (typeof acquireTimeout !== "number") throw new TypeError("Cannot use this acquireTimeout: want seconds");
  if (!(acquireTimeout >= 0)) throw new RangeError(`Cannot use acquireTimeout ${acquireTimeout}: want 0 or more`);
}

/** The statement that waits for a lock. MySQL rounds the seconds of GET_LOCK: the statement's time limit ends the wait. */
function getLock(name: string, seconds: number, kind: "mysql" | "mariadb"): string {
  const limit = Math.min(seconds, LONGEST_WAIT);
  if (kind === "mariadb" || Number.isInteger(limit)) return `SELECT GET_LOCK(${name}, ${limit})`;
  const milliseconds = Math.max(1, Math.round(limit * 1e3));
  return `SELECT /*+ MAX_EXECUTION_TIME(${milliseconds}) */ GET_LOCK(${name}, ${Math.ceil(limit) + 1})`;
}

/** The statements that list all held user locks. */
const SELECT_HELD = {
  mysql: `SELECT CAST(object_name AS BINARY), processlist_id
    FROM performance_schema.metadata_locks JOIN performance_schema.threads ON owner_thread_id = thread_id
    WHERE object_type = 'USER LEVEL LOCK' AND lock_status = 'GRANTED'`,
  mariadb: `SELECT CAST(table_schema AS BINARY), thread_id
    FROM information_schema.metadata_lock_info WHERE lock_type = 'User lock'`,
};

/** What they require. */
const REQUIRED = {
  mysql: "want SELECT on performance_schema.metadata_locks and performance_schema.threads",
  mariadb: "want the plugin metadata_lock_info (INSTALL SONAME 'metadata_lock_info')",
};

async function heldUserLocks(prefix: string, connector: Connector): Promise<Map<string, number>> {
  if (typeof prefix !== "string") throw new TypeError(`Cannot use prefix of type ${typeof prefix}: want a string`);
  const what = "list user locks";
  await connector.ask(what, "DO 0"); // after it the server is known, and with it the database
  const { kind } = connector.known!;
  const folded = (name: string) => kind === "mysql" ? name.toLowerCase() : name;
  const { rows } = await connector.ask(what, SELECT_HELD[kind]).catch((error) => {
    if (error instanceof BackendError && (isMissingView(error.cause) || isDenied(error.cause))) {
      throw new UnsupportedError(`Cannot ${what}: the server does not show them; ${REQUIRED[kind]}`, { cause: error });
    }
    throw error;
  });
  const database = folded(`${connector.database}.`);
  const begin = database + folded(prefix);
  const shown = rows.map(([name, id]) => [folded(name!), Number(id)] as const);
  const held = shown.filter(([name]) => name.startsWith(begin));
  return new Map(held.map(([name, id]) => [name.slice(database.length), id]));
}
