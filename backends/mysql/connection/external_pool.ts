import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import { startTimer } from "../../../core/util/runtime.ts";
import { killLent, within } from "./abandoned.ts";
import { type Connection, late } from "./connection.ts";
import { type Connector, GONE_MS } from "./connector.ts";
import { type DriverConnection, type DriverPool, send } from "./driver.ts";
import { endsConnection } from "../errors.ts";
import { requireNoTransaction, requireSettings } from "./external_settings.ts";
import type { Send, Source } from "./own_pool.ts";

/** What is answered with the status of the connection: whether it was part of a transaction is seen then. */
const WRITES = /^\s*(INSERT|UPDATE|DELETE|SET STATEMENT)\b/;
/** How long (ms) a statement of a pool is looked for at the server: a pool may reach it in ways that are not known here. */
const LENT_DOUBT_MS = 15_000;

/** The caller's pool: connections go back as they came. */
export class LentSource implements Source {
  readonly #connector: Connector;
  readonly #pool: DriverPool;
  readonly #patience: number;
  /** The connections whose settings were looked at, and since which discard they are used. */
  readonly #checked = new WeakMap<DriverConnection, number>();
  #discards = 0;
  #closed = false;

  constructor(connector: Connector, pool: DriverPool) {
    this.#connector = connector;
    this.#pool = pool;
    this.#patience = connector.target.options.answerTimeout * 1e3;
  }

  async use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    if (this.#closed) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
    const connection = await this.#getCurrent();
    let untouched = true;
    let sound = false;
    const { threadId: id, stream } = connection;
    const port = stream?.localPort;
    let last = "";
    const ask: Send = (sql) => this.#inTime(send(connection, last = sql));
    const first = async (sql: string) => {
      await this.#check(what, connection, sql, ask);
      untouched = false;
      return await ask(sql);
    };
    try {
      const result = await work((sql) => untouched ? first(sql) : ask(sql));
      sound = true;
      return result;
    } catch (error) {
      sound = !endsConnection(error) && (untouched || !(error instanceof UnsupportedError));
      if (!sound) {
        connection.destroy();
        if (id) await this.#end({ id, port, sql: last });
      }
      throw error;
    } finally {
      if (sound) connection.release!();
    }
  }

  /** Ends at the server what was running on a connection, within a bound: it must not take effect later. */
  async #end(last: { readonly id: number; readonly port: number | undefined; readonly sql: string }): Promise<void> {
    const attempt = (control: Connection, signal: AbortSignal) => killLent(control, last, signal);
    await within(GONE_MS, this.#connector.abandoned.track(last, attempt, LENT_DOUBT_MS));
  }

  /** Looks at a connection's settings when it is first used, and before a statement whose answer has no status. */
  async #check(what: string, connection: DriverConnection, sql: string, ask: Send): Promise<void> {
    if (!this.#checked.has(connection)) {
      await requireSettings(what, ask);
      this.#checked.set(connection, this.#discards);
    } else if (!WRITES.test(sql)) await requireNoTransaction(what, ask);
  }

  /** Those that were used here are given up when the pool lends them next; others when they are found to lead there. */
  discard(): number {
    this.#discards++;
    return this.#pool._freeConnections?.length ?? this.#pool.config.connectionLimit ?? 0;
  }

  async #getCurrent(): Promise<DriverConnection> {
    for (;;) {
      const connection = await this.#get();
      if ((this.#checked.get(connection) ?? Infinity) >= this.#discards) return connection;
      connection.destroy();
    }
  }

  #get(): Promise<DriverConnection> {
    const got = new Promise<DriverConnection>((resolve, reject) => {
      this.#pool.getConnection((error, connection) => error ? reject(error) : resolve(connection));
    });
    // One that comes too late goes back to the pool.
    return this.#inTime(got, () => got.then((connection) => connection.release!(), () => {}));
  }

  async #inTime<T>(answer: Promise<T>, tooLate?: () => void): Promise<T> {
    let stop: (() => void) | undefined;
    const limit = new Promise<never>((_, reject) => {
      const timer = startTimer(this.#patience, () => {
        reject(late(this.#patience));
        tooLate?.();
      }, true);
      stop = () => timer.stop();
    });
    try {
      return await Promise.race([answer, limit]);
    } finally {
      stop!();
    }
  }

  close(): void {
    this.#closed = true;
  }
}
