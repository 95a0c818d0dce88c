import { monotonic } from "../../../core/util/runtime.ts";
import { notPrimary } from "../errors.ts";
import type { Connection } from "./connection.ts";
import type { Connector } from "./connector.ts";
import type { Answer } from "./row_shapes.ts";

/** Sends one statement on the connection at hand. */
export type Send = (sql: string) => Promise<Answer>;

/** Connections for single statements and transactions: of our own, or the caller's. */
export interface ConnectionPool {
  /** Whether a connection is available without waiting for another request. */
  readonly hasRoom: boolean;
  /** Runs `work` with one connection. */
  use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T>;
  /** Discards all connections: they lead to a server that is not the primary. Returns how many may be left. */
  discard(): number;
  /** Ends what is under way, or waits for it where it cannot be ended; further requests fail. */
  close(): void | Promise<void>;
}

/** Connections of our own: as many as are needed at once, up to a limit; further requests wait in order. */
export class OwnPool implements ConnectionPool {
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

  get hasRoom(): boolean {
    return this.#busy < this.#limit;
  }

  /**
   * If the connection ends meanwhile, the error is held back, within a bound, until what was running on it is over at
   * the server.
   */
  async use<T>(what: string, work: (send: Send) => Promise<T>): Promise<T> {
    let used: Connection | undefined;
    try {
      return await this.#borrow(what, (connection) => {
        used = connection;
        return work((sql) => connection.query(sql));
      });
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
      connection = this.#takeIdle() ?? await this.#connector.connect(what);
      return await work(connection);
    } finally {
      if (connection && !connection.ended) this.#keep(connection);
      const next = this.#waiting.shift();
      if (next) next(); // it takes over the capacity of this request
      else this.#busy--;
    }
  }

  /** Connections in use are discarded when they come back. */
  discard(): number {
    this.#discardedAt = monotonic();
    for (const connection of this.#idle.splice(0)) connection.end(notPrimary());
    return 0;
  }

  #keep(connection: Connection): void {
    if (connection.openedAt <= this.#discardedAt) connection.end(notPrimary());
    else this.#idle.push(connection);
  }

  #takeIdle(): Connection | undefined {
    for (let connection = this.#idle.pop(); connection; connection = this.#idle.pop()) {
      if (!connection.ended) return connection;
    }
    return undefined;
  }

  close(): void {
    this.#connector.close();
  }
}
