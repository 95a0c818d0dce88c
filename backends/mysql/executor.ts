/**
 * Runs statements for leases: each in a transaction of its own, on connections of our own or of the caller's pool.
 *
 * @module
 */
import { BackendError, UnsupportedError } from "../../core/errors.ts";
import { monotonic, sleep, startTimer } from "../../core/runtime.ts";
import { type Connection, late } from "./connection.ts";
import type { Connector } from "./connector.ts";
import { type Answer, type DriverConnection, type DriverPool, send } from "./driver.ts";
import { endsConnection, isConflict, isNotPrimary, notPrimary, translate } from "./errors.ts";
import { inspect, requireAutocommit, requireNoTransaction, requireSettings } from "./lent_settings.ts";
import type { Server } from "./server.ts";
import { REFUSED } from "./taking.ts";

/** Sends one statement on the connection at hand. */
export type Send = (sql: string) => Promise<Answer>;

/** Pauses after a conflict (ms): from the first to the last, doubling, with jitter. */
const PAUSE_FIRST = 1;
const PAUSE_LAST = 50;
/** How long conflicts are lived through (ms). */
const CONFLICTS_FOR = 4_000;

/** What ends a transaction and opens no other, also where `completion_type` is CHAIN. */
const NO_CHAIN = " AND NO CHAIN NO RELEASE";

/** What is answered with the status of the connection: whether it was part of a transaction is seen then. */
const WRITES = /^\s*(INSERT|UPDATE|DELETE)\b/;

/** Lends a connection for as long as `work` takes. */
interface Source {
  use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T>;
  /** Gives up the connections there are: they lead to a server that is not the primary. Returns how many may be left. */
  discard(): number;
  close(): void;
}

/** Connections of our own: as many as are needed at once, up to a limit; the others wait in order. */
class OwnSource implements Source {
  readonly #connector: Connector;
  readonly #limit: number;
  readonly #idle: Connection[] = [];
  readonly #waiting: (() => void)[] = [];
  #busy = 0;
  #discardedAt = -Infinity;

  constructor(connector: Connector, limit: number) {
    this.#connector = connector;
    this.#limit = limit;
  }

  use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    return this.borrow(what, (connection) => work((sql) => connection.query(sql)));
  }

  /** Lends a connection itself. */
  async borrow<T>(what: string, work: (connection: Connection) => Promise<T>): Promise<T> {
    if (this.#busy >= this.#limit) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#busy++;
    let connection: Connection | undefined;
    try {
      connection = this.#take() ?? await this.#connector.connect(what);
      return await work(connection);
    } finally {
      if (connection && !connection.ended) this.#keep(connection);
      const next = this.#waiting.shift();
      if (next) next(); // the place goes over to the next in line
      else this.#busy--;
    }
  }

  /** Those in use are given up when they come back. */
  discard(): number {
    this.#discardedAt = monotonic();
    for (const connection of this.#idle.splice(0)) connection.end(notPrimary());
    return 0;
  }

  #keep(connection: Connection): void {
    if (connection.openedAt <= this.#discardedAt) connection.end(notPrimary());
    else this.#idle.push(connection);
  }

  #take(): Connection | undefined {
    for (let connection = this.#idle.pop(); connection; connection = this.#idle.pop()) {
      if (!connection.ended) return connection;
    }
    return undefined;
  }

  close(): void {
    this.#connector.close();
  }
}

/** The caller's pool: connections go back as they came. */
class LentSource implements Source {
  readonly #pool: DriverPool;
  readonly #patience: number;
  /** The connections whose settings were looked at, and since which discard they are used. */
  readonly #checked = new WeakMap<DriverConnection, number>();
  #discards = 0;
  #closed = false;

  constructor(pool: DriverPool, patience: number) {
    this.#pool = pool;
    this.#patience = patience;
  }

  async use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    if (this.#closed) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
    const connection = await this.#getCurrent();
    let untouched = true;
    let sound = false;
    const ask: Send = (sql) => this.#inTime(send(connection, sql));
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
      throw error;
    } finally {
      if (sound) connection.release!();
      else connection.destroy();
    }
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

/** Runs statements, again when others were in the way, and names what fails. */
export class Executor {
  readonly #source: Source;
  readonly #own: OwnSource | undefined;
  readonly #onDiscard: () => void;

  /** @param onDiscard Called when connections are given up: behind the same address there may be another server. */
  constructor(connector: Connector, onDiscard: () => void) {
    const { pool, options } = connector.target;
    this.#onDiscard = onDiscard;
    this.#own = pool ? undefined : new OwnSource(connector, options.connections);
    this.#source = this.#own ?? new LentSource(pool!, options.timeout * 1e3);
  }

  /** Lends a connection of our own for as long as `work` takes; none of a caller's pool. */
  async borrow(what: string, work: (connection: Connection) => Promise<void>): Promise<void> {
    await this.#own?.borrow(what, work);
  }

  /** One statement that is a transaction of its own; `repeats` says after which errors it is tried again. */
  run(what: string, sql: string, repeats: (error: unknown) => boolean = isConflict): Promise<Answer> {
    return this.#attempt(what, repeats, async (send) => {
      const answer = await send(sql);
      requireAutocommit(what, answer);
      if (answer.insertId === REFUSED) throw notPrimary();
      return answer;
    });
  }

  /** Gives up the connections there are: what they lead to may no longer be what others lead to. */
  discard(): void {
    this.#source.discard();
  }

  /** Asks what the server is and how the connection is set. */
  inspect(what: string): Promise<Server> {
    return this.#attempt(what, isConflict, inspect);
  }

  /** Several statements as one transaction; `work` answers whether to keep what they did, and the result. */
  transaction<T>(what: string, work: (send: Send) => Promise<{ keep: boolean; result: T }>): Promise<T> {
    return this.#attempt(what, isConflict, async (send) => {
      await send("START TRANSACTION");
      try {
        const { keep, result } = await work(async (sql) => {
          const answer = await send(sql);
          if (answer.insertId === REFUSED) throw notPrimary();
          return answer;
        });
        await send(`${keep ? "COMMIT" : "ROLLBACK"}${this.#own ? "" : NO_CHAIN}`);
        return result;
      } catch (error) {
        if (!endsConnection(error)) await send(`ROLLBACK${this.#own ? "" : NO_CHAIN}`).catch(() => {});
        throw error; // the first error is the one to tell of
      }
    });
  }

  /** Ends the connections that were opened here. */
  close(): void {
    this.#source.close();
  }

  async #attempt<T>(
    what: string,
    repeats: (error: unknown) => boolean,
    work: (send: Send) => Promise<T>,
  ): Promise<T> {
    const startedAt = monotonic();
    let others: number | undefined;
    for (let pause = PAUSE_FIRST;; pause = Math.min(pause * 2, PAUSE_LAST)) {
      try {
        return await this.#source.use(what, work);
      } catch (error) {
        if (isNotPrimary(error)) {
          const left = this.#source.discard();
          if (others === undefined) this.#onDiscard();
          others = others === undefined ? left : others - 1;
          if (others >= 0) continue; // until a new connection was tried
        }
        if (!repeats(error) || monotonic() - startedAt > CONFLICTS_FOR) throw translate(what, error);
      }
      await sleep(pause * (0.5 + Math.random()));
    }
  }
}
