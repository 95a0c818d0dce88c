import type { Connector } from "./connector.ts";
import { translate } from "./errors.ts";
import { requireServer } from "./server.ts";
import { SessionConnection } from "./session_connection.ts";
import { sessionName } from "./session_names.ts";

/**
 * Locks on one connection, at most: 1,000 held locks need four connections, with some room for tries. MySQL stays quick
 * to 10,000, MariaDB less.
 */
const PER_CONNECTION = 300;

/** The clock of the moment, not of the statement's start: it is read when the lock is held already. */
export const CLOCK_NOW = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))";

/** A connection, and how many locks ride on it or are about to. */
export interface Carrier {
  /** The connection. */
  readonly connection: SessionConnection;
  /** How many locks. */
  load: number;
}

/** The connections that carry session locks: as few as are needed. */
export class Carriers {
  readonly #connector: Connector;
  readonly #all: Carrier[] = [];
  #opening: Promise<Carrier> | undefined;
  /** Whether the clock stands still within a statement, so that it has to be read by the next one. */
  stoppedClock = false;

  constructor(connector: Connector) {
    this.#connector = connector;
  }

  /** The server-side name of a lock. */
  async digest(name: string): Promise<string> {
    const server = this.#connector.known ?? (await this.roomy("name a lock"), this.#connector.known!);
    return await sessionName(server, this.#connector.target.options.table, name);
  }

  /** A connection with room for one more lock, which is counted at once: many may ask in the same moment. */
  async reserve(what: string): Promise<Carrier> {
    for (;;) {
      const carrier = await this.roomy(what);
      if (carrier.load++ < PER_CONNECTION) return carrier;
      carrier.load--; // others were quicker
    }
  }

  /** A connection with room for one more lock. */
  async roomy(what: string): Promise<Carrier> {
    for (let index = this.#all.length - 1; index >= 0; index--) {
      if (this.#all[index].connection.ended) this.#all.splice(index, 1);
    }
    const roomy = this.#all.find(({ load }) => load < PER_CONNECTION);
    if (roomy) return roomy;
    this.#opening ??= this.#open(what).finally(() => this.#opening = undefined);
    return await this.#opening;
  }

  async #open(what: string): Promise<Carrier> {
    const connection = await SessionConnection.open(this.#connector, what);
    try {
      requireServer(this.#connector.known!, "session", this.#connector.target.options.table);
      // A server may be told to let SYSDATE() stand still within a statement, as NOW() does (--sysdate-is-now).
      const { rows: [[early, , later]] } = await connection.query("SELECT SYSDATE(6), SLEEP(0.001), SYSDATE(6)");
      this.stoppedClock = early === later;
    } catch (error) {
      connection.end(error as Error);
      throw translate(what, error);
    }
    const carrier = { connection, load: 0 };
    this.#all.push(carrier);
    return carrier;
  }
}
