/**
 * Runs statements for leases: each in a transaction of its own, on connections of our own or of the caller's pool.
 *
 * @module
 */
import { monotonic } from "../../../core/util/runtime.ts";
import type { Connection } from "./connection.ts";
import type { Connector } from "./connector.ts";
import type { Answer } from "./driver.ts";
import { endsConnection, isConflict, isNotPrimary, notPrimary, translate } from "../errors.ts";
import { inspect, requireAutocommit } from "./external_settings.ts";
import { LentSource } from "./external_pool.ts";
import { OwnSource, type Send, type Source } from "./own_pool.ts";
import type { Server } from "./server.ts";
import { REFUSED } from "../rows/acquire_statements.ts";

export type { Send } from "./own_pool.ts";

/** Pauses after a conflict (ms): from the first to the last, doubling, with jitter. */
const PAUSE_FIRST = 1;
const PAUSE_LAST = 50;
/** Connections for renewals beside the others: opened when those are all in use. */
const RENEWING = 2;
/** How long conflicts are lived through (ms). */
const CONFLICTS_FOR = 4_000;

/** What ends a transaction and opens no other, also where `completion_type` is CHAIN. */
const NO_CHAIN = " AND NO CHAIN NO RELEASE";

/** Runs statements, again when others were in the way, and names what fails. */
export class Executor {
  readonly #connector: Connector;
  readonly #source: Source;
  readonly #renewals: Source;
  readonly #own: OwnSource | undefined;
  readonly #onDiscard: () => void;

  /** @param onDiscard Called when connections are given up: behind the same address there may be another server. */
  constructor(connector: Connector, onDiscard: () => void) {
    const { pool, options } = connector.target;
    this.#connector = connector;
    this.#onDiscard = onDiscard;
    this.#own = pool ? undefined : new OwnSource(connector, options.maxConnections);
    this.#source = this.#own ?? new LentSource(connector, pool!);
    this.#renewals = this.#own ? new OwnSource(connector, RENEWING) : this.#source;
  }

  /** Lends a connection of our own for as long as `work` takes; none of a caller's pool. */
  async borrow(what: string, work: (connection: Connection) => Promise<void>): Promise<void> {
    await this.#own?.borrow(what, work);
  }

  /**
   * One statement that is a transaction of its own; `repeats` says after which errors it is tried again. `apart` is for
   * renewals, which have connections of their own where all others are in use.
   */
  run(
    what: string,
    sql: string,
    repeats: (error: unknown) => boolean = isConflict,
    apart = false,
  ): Promise<Answer> {
    const source = apart && this.#own && !this.#own.hasRoom ? this.#renewals : this.#source;
    return this.#attempt(what, repeats, async (send) => {
      const answer = await send(sql);
      requireAutocommit(what, answer);
      if (answer.insertId === REFUSED) throw notPrimary();
      return answer;
    }, source);
  }

  /** Gives up the connections there are: what they lead to may no longer be what others lead to. */
  discard(): number {
    if (this.#renewals !== this.#source) this.#renewals.discard();
    return this.#source.discard();
  }

  /** Asks what the server is and how the connection is set. */
  inspect(what: string): Promise<Server> {
    return this.#attempt(what, isConflict, inspect);
  }

  /** Several statements as one transaction; `work` answers whether to keep what they did, and the result. */
  transaction<T>(
    what: string,
    work: (send: Send) => Promise<{ keep: boolean; result: T }>,
    repeats: (error: unknown) => boolean = isConflict,
  ): Promise<T> {
    return this.#attempt(what, repeats, async (send) => {
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
    source: Source = this.#source,
  ): Promise<T> {
    const startedAt = monotonic();
    let others: number | undefined;
    for (let pause = PAUSE_FIRST;; pause = Math.min(pause * 2, PAUSE_LAST)) {
      try {
        return await source.use(what, work);
      } catch (error) {
        if (isNotPrimary(error)) {
          const left = this.discard();
          if (others === undefined) this.#onDiscard();
          others = others === undefined ? left : others - 1;
          if (others >= 0) continue; // until a new connection was tried
        }
        if (!repeats(error) || monotonic() - startedAt > CONFLICTS_FOR) throw translate(what, error);
      }
      await this.#connector.pause(what, pause * (0.5 + Math.random()));
    }
  }
}
