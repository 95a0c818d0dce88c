import type { OwnedLock } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { once } from "../../../core/util/once.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import type { Connector } from "../connection/connector.ts";
import type { Answer } from "../connection/row_shapes.ts";
import { ExternalFunction } from "../connection/external_function.ts";
import { ExternalPool } from "../connection/external_pool.ts";
import { type ConnectionPool, OwnPool, type Send } from "../connection/own_pool.ts";
import type { Server } from "../connection/server.ts";
import { inspect, requireAutocommit } from "../connection/settings.ts";
import {
  isConflict,
  isMissingTable,
  isNotPrimary,
  isPassingConflict,
  isRowLocked,
  notPrimary,
  translate,
} from "../errors.ts";
import { type Found, upgradeTable } from "../../shared/found_table.ts";
import { columnsOf, findTable, lockSchema, upgrade } from "../schema.ts";
import { REFUSED } from "./acquire_statements.ts";
import { chunks, type OwnedRow, toOwnedRow } from "./rows.ts";
import { Statements } from "./statements.ts";

/** Pauses after a conflict with another transaction (ms), and how long such statements are repeated (ms). */
const CONFLICT_PAUSE = { first: 1, longest: 50, jitter: 1 };
const CONFLICTS_FOR_MS = 4_000;
/** Pauses between attempts on a locked row, and how long it is tried (ms). */
const LOCKED_PAUSE = { first: 5, longest: 100, jitter: 1 };
const LOCKED_FOR_MS = 4_000;
/** How often a table is inspected that is missing or wrong, and the pause in between (ms). */
const MOST_LOOKS = 3;
const LOOK_PAUSE_MS = 50;
/** The most that a packet has besides the statement (bytes). */
const PACKET_OVERHEAD = 64;
/** Connections that are opened where all others are in use: by requests, or by the caller's transactions. */
const SPARE_CONNECTIONS = 2;

/** Tells which errors a statement is repeated after. */
export type Repeats = (error: unknown) => boolean;

/** The error for a statement that the server does not answer: it closes the connection, and other requests fail with it. */
function tooLong(what: string, length: number, packet: number): BackendError {
  const reason = `the statement has ${length} bytes, and max_allowed_packet is ${packet}`;
  return new BackendError(`Cannot ${what}: ${reason}; want less metadata, fewer names in one call, or a larger value`);
}

/** The lock table on its server: created on first use. Sends its statements, again after a conflict. */
export class LockTable {
  sql: Statements;
  /** Resolves to what the server is, once the table is known to be there. */
  readonly ready = once((what: string) => this.#prepare(what));
  readonly #connector: Connector;
  readonly #pool: ConnectionPool;
  /** How many requests use a connection of the pool, which comes back soon. */
  #using = 0;
  /** Absent where only a function reaches the server. */
  readonly #spare: OwnPool | undefined;
  readonly #mode: "lease" | "hybrid";
  /** The server's `max_allowed_packet` (bytes). */
  #packet = Infinity;

  constructor(connector: Connector, mode: "lease" | "hybrid") {
    const { pool, execute, options } = connector.target;
    this.sql = new Statements(options.table, mode === "hybrid");
    this.#connector = connector;
    this.#mode = mode;
    this.#pool = execute
      ? new ExternalFunction(execute)
      : pool
      ? new ExternalPool(connector, pool)
      : new OwnPool(connector, options.maxConnections);
    this.#spare = execute ? undefined : new OwnPool(connector, SPARE_CONNECTIONS);
  }

  /** Whether the connections are of our own: at READ COMMITTED, and without long waits for locked rows. */
  get isOwn(): boolean {
    return this.#pool instanceof OwnPool;
  }

  /** Sends one statement, which is a transaction of its own. */
  run(what: string, sql: string, repeats: Repeats = isConflict): Promise<Answer> {
    return this.#run(what, sql, repeats, false);
  }

  /** The same for renewals, which must not wait for other requests. */
  renew(what: string, sql: string, repeats: Repeats = isConflict): Promise<Answer> {
    return this.#run(what, sql, repeats, true);
  }

  async #run(what: string, sql: string, repeats: Repeats, isRenewal: boolean): Promise<Answer> {
    if (sql.length + PACKET_OVERHEAD > this.#packet) throw tooLong(what, sql.length, this.#packet); // it is ASCII
    return await this.#attempt(what, repeats, async (send) => {
      const answer = await send(sql);
      requireAutocommit(what, answer);
      if (answer.insertId === REFUSED) throw notPrimary();
      return answer;
    }, isRenewal);
  }

  /**
   * Runs some work with a connection: with a spare one where the caller's transactions use all of a pool for as long as
   * they last, of which one may wait for the very lock that is asked for, and for a renewal wherever it would wait.
   */
  async #use<T>(what: string, work: (send: Send) => Promise<T>, isRenewal: boolean): Promise<T> {
    if (!this.#pool.hasRoom && this.#spare && (isRenewal || this.#using === 0)) {
      let begun = false;
      try {
        return await this.#spare.use(what, (send) => (begun = true, work(send)));
      } catch (error) {
        if (begun) throw error; // otherwise the server lets this user open no more
      }
    }
    return await this.#pool.use(what, async (send) => {
      this.#using++;
      try {
        return await work(send);
      } finally {
        this.#using--;
      }
    });
  }

  async #attempt<T>(
    what: string,
    repeats: Repeats,
    work: (send: Send) => Promise<T>,
    isRenewal = false,
  ): Promise<T> {
    const startedAt = monotonic();
    const backoff = new Backoff(CONFLICT_PAUSE);
    let discardsLeft: number | undefined;
    for (;;) {
      try {
        return await this.#use(what, work, isRenewal);
      } catch (error) {
        if (isNotPrimary(error)) {
          const left = this.discard();
          if (discardsLeft === undefined) { // the address may lead to another server now
            this.ready.clear();
            this.#connector.doubt();
          }
          discardsLeft = discardsLeft === undefined ? left : discardsLeft - 1;
          if (discardsLeft >= 0) continue; // until a new connection was tried
        }
        if (repeats(error) && monotonic() - startedAt <= CONFLICTS_FOR_MS) {
          await this.#connector.pause(what, backoff.next());
          continue;
        }
        if (isMissingTable(error)) this.ready.clear(); // a dropped table is created again by the next request
        throw translate(what, error);
      }
    }
  }

  /** Another client may have upgraded the table at the same time. */
  async #unlessUpgraded(what: string, error: unknown): Promise<void> {
    if (await this.#find(what) !== "present") throw error;
  }

  /** While another client upgrades the table, MariaDB may show it without its index, or not at all. */
  async #find(what: string): Promise<Found> {
    const { table, migrate } = this.#connector.target.options;
    for (let looks = 1;; looks++) {
      const { rows } = await this.run(what, columnsOf(table));
      try {
        const found = findTable(table, rows);
        if (found !== "none" || migrate || looks === MOST_LOOKS) return found; // its creation waits for an upgrade
      } catch (error) {
        if (looks === MOST_LOOKS) throw error;
      }
      await this.#connector.pause(what, LOOK_PAUSE_MS);
    }
  }

  /**
   * Repeats a request, with pauses, while a transaction keeps its row locked.
   *
   * @param request Returns nothing when it has left the row out.
   * @throws {BackendError} When the row stays locked.
   */
  async whenUnlocked<T>(what: string, request: () => Promise<T | undefined>): Promise<T> {
    const until = monotonic() + LOCKED_FOR_MS;
    const backoff = new Backoff(LOCKED_PAUSE);
    for (;;) {
      let failure: unknown;
      try {
        const result = await request();
        if (result !== undefined) return result;
      } catch (error) {
        if (!isRowLocked(error)) throw error;
        failure = error;
      }
      if (monotonic() > until) {
        throw failure ??
          new BackendError(`Cannot ${what}: another transaction keeps the row locked`, { retryable: true });
      }
      await this.#connector.pause(what, backoff.next());
    }
  }

  /** Discards the present connections. Returns how many may be left. */
  discard(): number {
    this.#spare?.discard();
    return this.#pool.discard();
  }

  /** Reads the live rows of names, and those of attempts to acquire them that have expired meanwhile. */
  async liveRows(what: string, names: readonly string[], claims?: readonly OwnedLock[]): Promise<OwnedRow[]> {
    const answers = await Promise.all(chunks(names).map((some) => this.run(what, this.sql.selectLive(some, claims))));
    return answers.flatMap(({ rows }) => rows.map(toOwnedRow));
  }

  /** Ends the connections that were opened for it, and waits for what cannot be ended. */
  async close(): Promise<void> {
    await this.#pool.close();
  }

  async #prepare(what: string): Promise<Server> {
    const { table, migrate } = this.#connector.target.options;
    const server = await this.#attempt(what, isConflict, inspect);
    this.#connector.require(server, this.#mode);
    this.#packet = Number(server.variables.get("max_allowed_packet")) || Infinity;
    this.sql = new Statements(table, this.#mode === "hybrid", !server.logsStatements);
    const found = await this.#find(what);
    if (found === "present") return server;
    if (!migrate) {
      const state = found === "old" ? "is of an earlier version" : "does not exist or may not be used";
      throw new BackendError(`Cannot ${what}: table ${JSON.stringify(table)} ${state}, and "migrate" is off`);
    }
    if (found === "none") await this.run(what, lockSchema(table));
    else {
      const attempt = () => this.#upgrade(what, server).catch((error) => this.#unlessUpgraded(what, error));
      await upgradeTable(table, attempt, isRowLocked);
    }
    return server;
  }

  /** Waits for 1 s at most for transactions that use the table, where the connection can be told so. */
  #upgrade(what: string, { kind }: Server): Promise<unknown> {
    const { execute, options: { table } } = this.#connector.target;
    const ddl = upgrade(table);
    return this.#attempt(what, isPassingConflict, async (send) => {
      if (kind === "mariadb") return await send(`SET STATEMENT lock_wait_timeout = 1 FOR ${ddl}`);
      if (execute) return await send(ddl); // its next statement may use another connection
      const { rows: [[usual]] } = await send("SELECT CAST(@@lock_wait_timeout AS BINARY) LIMIT 1");
      await send("SET lock_wait_timeout = 1");
      try {
        return await send(ddl);
      } finally {
        await send(`SET lock_wait_timeout = ${usual}`);
      }
    });
  }
}
