import { LruMap } from "../../../core/util/lru_map.ts";
import type { Connector } from "../connection/connector.ts";
import { translate } from "../errors.ts";
import type { Server } from "../connection/server.ts";
import { SessionConnection } from "./session.ts";
import { sessionName } from "./session_keys.ts";
import { SessionTokens } from "./session_tokens.ts";

/**
 * Locks on one connection, at most: 1,000 held locks need four connections, with some room for tries. MySQL stays quick
 * to 10,000, MariaDB less.
 */
const PER_CONNECTION = 300;

/** Names in one statement, at most. */
const TOGETHER = 250;
/** How many names' digests are remembered: names are mostly taken again and again. */
const MEMORY = 8_192;

/** A connection, and how many locks ride on it or are about to. */
export interface Carrier {
  /** The connection. */
  readonly connection: SessionConnection;
  /** How many locks. */
  load: number;
  /** Where the tokens of the locks come from; without it they are the server's clock. */
  readonly tokens: SessionTokens | undefined;
  /** Whether the clock stands still within a statement, so that it has to be read by the next one. */
  readonly stoppedClock: boolean;
}

/** Places for locks on a connection, which one statement takes. */
export interface Share {
  /** The connection. */
  readonly carrier: Carrier;
  /** How many places. */
  readonly places: number;
}

/** Undoes defaults of the server by which a connection may not write the row of tokens. */
async function allowWrites(connection: SessionConnection, { variables, readCommitted, isolation }: Server) {
  const readOnly = variables.get("transaction_read_only") ?? variables.get("tx_read_only");
  if (readOnly === "ON") await connection.query("SET SESSION TRANSACTION READ WRITE");
  if (readCommitted || !/^READ-/.test(isolation)) return;
  await connection.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
}

/** The connections that carry session locks: as few as are needed. */
export class Carriers {
  readonly #connector: Connector;
  readonly #all: Carrier[] = [];
  /** Those that have ended here, and perhaps not yet at the server. */
  #ended: Carrier[] = [];
  readonly #digests = new LruMap<string, string>(MEMORY);
  #opening: Promise<Carrier> | undefined;

  constructor(connector: Connector) {
    this.#connector = connector;
  }

  /** Whether one that has ended here may still have its locks at the server. */
  get inDoubt(): boolean {
    return this.#ended.length > 0;
  }

  /** The server-side name of a lock. */
  async digest(name: string): Promise<string> {
    return this.#digests.get(name) ?? await this.#compute(name);
  }

  /** The server-side names of locks. */
  async digests(names: readonly string[]): Promise<string[]> {
    const known = names.map((name) => this.#digests.get(name));
    if (!known.includes(undefined)) return known as string[];
    return await Promise.all(names.map((name, index) => known[index] ?? this.#compute(name)));
  }

  async #compute(name: string): Promise<string> {
    const server = this.#connector.known ?? (await this.roomy("name a lock"), this.#connector.known!);
    const digest = await sessionName(server, this.#connector.target.options.table, name);
    this.#digests.set(name, digest);
    return digest;
  }

  /** Connections with room for so many more locks together, which are counted at once: many may ask in the same moment. */
  async reserve(count: number, what: string): Promise<Share[]> {
    const shares: Share[] = [];
    try {
      for (let left = count; left > 0;) {
        const carrier = await this.roomy(what);
        const places = Math.min(PER_CONNECTION - carrier.load, left, TOGETHER);
        if (places <= 0) continue; // others were quicker
        carrier.load += places;
        left -= places;
        shares.push({ carrier, places });
      }
    } catch (error) {
      for (const { carrier, places } of shares) carrier.load -= places;
      throw error;
    }
    return shares;
  }

  /** A connection with room for one more lock. */
  async roomy(what: string): Promise<Carrier> {
    for (let index = this.#all.length - 1; index >= 0; index--) {
      if (this.#all[index].connection.ended) this.#ended.push(...this.#all.splice(index, 1));
    }
    const roomy = this.#all.find(({ load }) => load < PER_CONNECTION);
    if (roomy) return roomy;
    this.#opening ??= this.#open(what).finally(() => this.#opening = undefined);
    return await this.#opening;
  }

  async #open(what: string): Promise<Carrier> {
    const gone = await Promise.all(this.#ended.map(({ connection }) => connection.gone(this.#connector)));
    this.#ended = this.#ended.filter((_, index) => gone[index] === false);
    const connection = await SessionConnection.open(this.#connector, what);
    try {
      const carrier = { connection, load: 0, ...await this.#prepare(connection) };
      this.#all.push(carrier);
      return carrier;
    } catch (error) {
      connection.end(error as Error);
      throw translate(what, error);
    }
  }

  async #prepare(connection: SessionConnection): Promise<Pick<Carrier, "tokens" | "stoppedClock">> {
    const server = this.#connector.known!;
    const { table, migrate } = this.#connector.target.options;
    this.#connector.require(server, "session");
    await allowWrites(connection, server);
    const tokens = await SessionTokens.open(connection, table, migrate);
    // A server may be told to let SYSDATE() stand still within a statement, as NOW() does (--sysdate-is-now).
    const { rows: [[early, , later]] } = await connection.query("SELECT SYSDATE(6), SLEEP(0.001), SYSDATE(6)");
    return { tokens, stoppedClock: early === later };
  }
}
