import { UnsupportedError } from "../../../core/errors.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { InProgress } from "../../../core/util/in_progress.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { sleep } from "../../../core/util/runtime.ts";
import { endsConnection, isPoolBusy } from "../errors.ts";
import { within } from "./abandoned.ts";
import { type Abandonable, type Connection, late } from "./connection.ts";
import { type Connector, GONE_MS } from "./connector.ts";
import {
  borrow,
  clientPort,
  connectionId,
  type DriverConnection,
  type DriverPool,
  idleConnections,
  isExhausted,
  send,
} from "./driver.ts";
import type { ConnectionPool, Send } from "./own_pool.ts";
import { requireNoTransaction, requireSettings } from "./settings.ts";
import { hexadecimal } from "../../shared/hexadecimal.ts";

/** Statements whose answer carries the status of the connection, which shows whether they were part of a transaction. */
const WRITES = /^\s*(INSERT|UPDATE|DELETE|SET STATEMENT)\b/;
/** How much of a statement is looked for at the server, which shows 65,535 characters at most. */
const SHOWN_BYTES = 10_000;
/** Pauses (ms) before a pool is asked again that does not let callers wait. */
const BUSY_POOL = { first: 5, longest: 100, jitter: 0.5 };
/** How long (ms) a statement is looked for at the server: a pool may reach it in a way that hides its connections. */
const LOCATE_FOR_MS = 15_000;

/** The caller's pool. Its connections are returned with the settings that they came with. */
export class ExternalPool implements ConnectionPool {
  readonly #connector: Connector;
  readonly #pool: DriverPool;
  readonly #answerTimeout: number;
  /** The connections whose settings were checked, and the number of the discard after which that was. */
  readonly #checked = new WeakMap<DriverConnection, number>();
  readonly #inProgress = new InProgress();
  #discards = 0;
  #closed = false;

  constructor(connector: Connector, pool: DriverPool) {
    this.#connector = connector;
    this.#pool = pool;
    this.#answerTimeout = connector.target.options.answerTimeout * 1e3;
  }

  get hasRoom(): boolean {
    return !isExhausted(this.#pool);
  }

  async use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    const connection = await this.#takeCurrent(what);
    const running = new RunningStatement(connection);
    let untouched = true;
    let isSound = false;
    const ask: Send = (sql) => this.#wait(what, () => send(connection, running.sql = sql));
    const checkedAsk: Send = async (sql) => {
      if (untouched) await this.#check(what, connection, sql, ask);
      untouched = false;
      return await ask(sql);
    };
    try {
      const result = await work(checkedAsk);
      isSound = true;
      return result;
    } catch (error) {
      isSound = !this.#closed && !endsConnection(error) && (untouched || !(error instanceof UnsupportedError));
      if (!isSound) {
        connection.destroy();
        // It must not take effect after the error was reported.
        if (running.id) await within(GONE_MS, this.#connector.abandoned.end(running, LOCATE_FOR_MS));
      }
      throw error;
    } finally {
      if (isSound) connection.release!();
    }
  }

  /** Checks a connection's settings on its first use, and for a transaction before a statement whose answer has no status. */
  async #check(what: string, connection: DriverConnection, sql: string, ask: Send): Promise<void> {
    if (!this.#checked.has(connection)) {
      await requireNoTransaction(what, ask);
      await requireSettings(what, ask);
      this.#checked.set(connection, this.#discards);
    } else if (!WRITES.test(sql)) await requireNoTransaction(what, ask);
  }

  /** Connections that were used here are destroyed when the pool lends them next. */
  discard(): number {
    this.#discards++;
    return idleConnections(this.#pool);
  }

  async #takeCurrent(what: string): Promise<DriverConnection> {
    for (;;) {
      const borrowing = () => this.#borrow();
      const connection = await this.#wait(what, borrowing, (late) => late.release!());
      if ((this.#checked.get(connection) ?? Infinity) >= this.#discards) return connection;
      connection.destroy();
    }
  }

  /** Borrows a connection: again where the pool says at once that all are in use. */
  async #borrow(): Promise<DriverConnection> {
    for (const pauses = new Backoff(BUSY_POOL);;) {
      try {
        return await borrow(this.#pool);
      } catch (error) {
        if (this.#closed || !isPoolBusy(error)) throw error;
        await sleep(pauses.next());
      }
    }
  }

  /**
   * Waits for an answer until the answer timeout, or until the backend is closed.
   *
   * @param tooLate Called with an answer that comes afterwards.
   */
  async #wait<T>(what: string, request: () => Promise<T>, tooLate?: (answer: T) => void): Promise<T> {
    let answer: Promise<T> | undefined;
    try {
      return await withDeadline(this.#answerTimeout, this.#inProgress.run(what, () => answer = request()), () => {
        throw late(this.#answerTimeout);
      });
    } catch (error) {
      answer?.then(tooLate, () => {});
      throw error;
    }
  }

  close(): void {
    this.#closed = true;
    this.#inProgress.end();
  }
}

/**
 * The statement that runs on a connection of the caller's pool. It is found in the process list by the connection's id
 * together with the client's port or the statement: an id alone may belong to another client after a restart.
 */
class RunningStatement implements Abandonable {
  readonly id: number;
  /** The last statement that was sent. */
  sql = "";
  readonly #port: number | undefined;

  constructor(connection: DriverConnection) {
    this.id = connectionId(connection);
    this.#port = clientPort(connection);
  }

  readonly locate = async (control: Connection): Promise<number | null> => {
    const samePort = this.#port === undefined ? "FALSE" : `SUBSTRING_INDEX(host, ':', -1) = '${this.#port}'`;
    const start = hexadecimal(this.sql.trim()).slice(0, 2 * SHOWN_BYTES); // the server shows it without blanks around it
    const { rows } = await control.query(`SELECT id FROM information_schema.processlist
      WHERE id = ${this.id} AND (LOCATE(X'${start}', CAST(info AS BINARY)) = 1 OR ${samePort})`);
    return rows.length === 0 ? null : this.id;
  };
}
