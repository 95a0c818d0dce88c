import { monotonic } from "../../../core/util/runtime.ts";
import type { Connection } from "./connection.ts";
import type { Connector } from "./connector.ts";
import type { Answer } from "./driver.ts";
import { notPrimary } from "../errors.ts";

/** Sends one statement on the connection at hand. */
export type Send = (sql: string) => Promise<Answer>;

/** Lends a connection for as long as `work` takes. */
export interface Source {
  use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T>;
  /** Gives up the connections there are: they lead to a server that is not the primary. Returns how many may be left. */
  discard(): number;
  close(): void;
}

/** Connections of our own: as many as are needed at once, up to a limit; the others wait in order. */
export class OwnSource implements Source {
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

  /** Whether a connection can be had without waiting for another request. */
  get hasRoom(): boolean {
    return this.#busy < this.#limit;
  }

  use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    return this.borrow(what, (connection) => work((sql) => connection.query(sql)));
  }

  /**
   * Lends a connection itself. When it ends meanwhile, the error is told once what was running on it is over at the
   * server, or a bound is reached.
   */
  async borrow<T>(what: string, work: (connection: Connection) => Promise<T>): Promise<T> {
    let used: Connection | undefined;
    try {
      return await this.#borrow(what, (connection) => work(used = connection));
    } catch (error) {
      if (used?.ended) await this.#connector.gone(used);
      throw error;
    }
  }

  async #borrow<T>(what: string, work: (connection: Connection) => Promise<T>): Promise<T> {
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
