import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { endsConnection } from "../errors.ts";
import { type Abandonable, within } from "./abandoned.ts";
import { type Connection, late } from "./connection.ts";
import { type Connector, GONE_MS } from "./connector.ts";
import {
  type Answer,
  borrow,
  clientPort,
  connectionId,
  type DriverConnection,
  type DriverPool,
  idleConnections,
  send,
} from "./driver.ts";
import type { ConnectionPool, Send } from "./own_pool.ts";
import { describe, QUESTIONS, type Server } from "./server.ts";
import { hexadecimal } from "./sql.ts";

/** Statements whose answer carries the status of the connection, which shows whether they were part of a transaction. */
const WRITES = /^\s*(INSERT|UPDATE|DELETE|SET STATEMENT)\b/;
/** How long (ms) a statement is looked for at the server: a pool may reach it in a way that hides its connections. */
const LOCATE_FOR_MS = 15_000;
/** Below this `sql_select_limit` the list of variables might be truncated. */
const FEW_ROWS = 1_000n;
/** A difference (s) between the session's clock and the server's that no statement explains. */
const CLOCK_DIFFERENCE_SECONDS = 60;
/** The character sets that texts are sent and answered in. */
const CHARSETS = ["character_set_client", "character_set_connection", "character_set_results"];
/** Character sets in which ASCII texts have other bytes. */
const NOT_ASCII = /^(?:ucs2|utf16|utf32|swe7)/;

/** The caller's pool. Its connections are returned with the settings that they came with. */
export class ExternalPool implements ConnectionPool {
  readonly #connector: Connector;
  readonly #pool: DriverPool;
  readonly #answerTimeout: number;
  /** The connections whose settings were checked, and the number of the discard after which that was. */
  readonly #checked = new WeakMap<DriverConnection, number>();
  /** Ends what is awaited when the backend is closed. */
  readonly #awaited = new Set<() => void>();
  #discards = 0;
  #closed = false;

  constructor(connector: Connector, pool: DriverPool) {
    this.#connector = connector;
    this.#pool = pool;
    this.#answerTimeout = connector.target.options.answerTimeout * 1e3;
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
      const borrowing = () => borrow(this.#pool);
      const connection = await this.#wait(what, borrowing, (late) => late.release!());
      if ((this.#checked.get(connection) ?? Infinity) >= this.#discards) return connection;
      connection.destroy();
    }
  }

  /**
   * Waits for an answer until the answer timeout, or until the backend is closed.
   *
   * @param tooLate Called with an answer that comes afterwards.
   */
  async #wait<T>(what: string, request: () => Promise<T>, tooLate?: (answer: T) => void): Promise<T> {
    const closed = () => new BackendError(`Cannot ${what}: the backend was disposed of`);
    if (this.#closed) throw closed();
    const answer = request();
    let end: () => void;
    const ended = new Promise<never>((_, reject) => end = () => reject(closed()));
    this.#awaited.add(end!);
    try {
      return await withDeadline(this.#answerTimeout, Promise.race([answer, ended]), () => {
        throw late(this.#answerTimeout);
      });
    } catch (error) {
      answer.then(tooLate, () => {});
      throw error;
    } finally {
      this.#awaited.delete(end!);
    }
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#awaited) end();
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
    const { rows } = await control.query(`SELECT id FROM information_schema.processlist
      WHERE id = ${this.id} AND (CAST(info AS BINARY) = X'${hexadecimal(this.sql)}' OR ${samePort})`);
    return rows.length === 0 ? null : this.id;
  };
}

/** Describes the server and the settings of a caller's connection, whatever its limit of rows is. */
export async function inspect(send: Send): Promise<Server> {
  const { rows: [[limit]] } = await send("SELECT CAST(@@sql_select_limit AS BINARY) LIMIT 1");
  const limited = BigInt(limit!) < FEW_ROWS;
  if (limited) await send(`SET sql_select_limit = ${FEW_ROWS}`);
  try {
    return describe([await send(QUESTIONS[0]), await send(QUESTIONS[1])]);
  } finally {
    if (limited) await send(`SET sql_select_limit = ${limit}`);
  }
}

/**
 * Refuses a caller's connection on which a statement would fail, or mean something else.
 *
 * @throws {UnsupportedError} With the name of the setting.
 */
async function requireSettings(what: string, send: Send): Promise<void> {
  await requireNoTransaction(what, send);
  const refuse = (setting: string, wanted: string) => {
    throw new UnsupportedError(`Cannot ${what} on this pool: its connections have ${setting}; want ${wanted}`);
  };
  const { rows: [names] } = await send(`SELECT ${CHARSETS.map((name) => `CAST(@@${name} AS BINARY)`)} LIMIT 1`);
  CHARSETS.forEach((name, index) => {
    if (NOT_ASCII.test(names[index] ?? "")) refuse(`${name} ${names[index]}`, "utf8mb4");
  });
  const server = await inspect(send);
  const of = (name: string) => server.variables.get(name) ?? "";
  if (of("sql_mode").includes("SIMULTANEOUS_ASSIGNMENT")) {
    refuse("sql_mode SIMULTANEOUS_ASSIGNMENT", "it left out (sql_mode ORACLE contains it)");
  }
  for (const name of ["transaction_read_only", "tx_read_only"]) if (of(name) === "ON") refuse(`${name} ON`, "OFF");
  if (server.logsStatements && /^READ-(UN)?COMMITTED$/.test(server.isolation)) {
    refuse(`isolation level ${server.isolation}, and binlog_format is STATEMENT`, "REPEATABLE READ, or ROW");
  }
  const { rows: [[difference]] } = await send("SELECT TIMESTAMPDIFF(SECOND, NOW(6), SYSDATE(6)) LIMIT 1");
  if (Math.abs(Number(difference)) > CLOCK_DIFFERENCE_SECONDS) {
    refuse('a clock of their own, set by "timestamp"', "SET timestamp = DEFAULT");
  }
}

/**
 * Refuses a connection with an open transaction of the caller: a lock would become part of it, and reads may be stale.
 *
 * @throws {UnsupportedError} When there is one, or `autocommit` is off.
 */
async function requireNoTransaction(what: string, send: Send): Promise<void> {
  requireAutocommit(what, await send("DO 0"));
}

/**
 * Checks the status that came with an answer.
 *
 * @throws {UnsupportedError} When a transaction is open, or `autocommit` is off.
 */
export function requireAutocommit(what: string, { inTransaction, autocommit }: Answer): void {
  if (!inTransaction && autocommit) return;
  throw new UnsupportedError(
    `Cannot ${what}: the pool's connection has a transaction open, or autocommit off; ` +
      "want connections whose transaction has ended and autocommit = 1, or a pool for locks alone",
  );
}
