import type { Diagnostic, LockActivity, LockRow } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import type { Attempt, SessionEngine } from "../../sessions/session_engine.ts";
import { SessionPool } from "../../sessions/session_pool.ts";
import { type Connector, GONE_MS } from "../connection/connector.ts";
import type { Answer } from "../connection/row_shapes.ts";
import { confirmsCommits, type Server } from "../connection/server.ts";
import { bytes } from "../connection/inline_parameters.ts";
import { diagnose } from "../diagnose.ts";
import { isLockWaitTimeout, isMissingTable, translate } from "../errors.ts";
import { holdersOfSessionLocks, observations } from "../rows/lock_activity.ts";
import { confirm, INCARNATION, livenessKey, selectOrphaned, shortenOrphaned } from "../rows/liveness.ts";
import { type Looked, Waiters } from "../wakeup/waiters.ts";
import { MysqlSession } from "./session.ts";
import { acquireEach, areFree, CLOCK_NOW, DONE, NOT_DONE, releaseEach, sessionKey } from "./session_statements.ts";
import { type DrawToken, openTokens } from "./session_tokens.ts";

/**
 * 1,000 held locks need four connections, with some room for tries. MySQL stays quick to 10,000 locks on a connection,
 * MariaDB less.
 */
const LIMITS = { locksPerSession: 300, locksPerStatement: 250 };

/** A name that is held: the server does not tell who waits for it. */
const HELD = { isDue: false, position: 1 };

/** How long (ms) a disposal waits until what is under way has ended at the server, after the core has waited for it. */
const CLOSE_MS = 400;

/** Session locks with GET_LOCK. */
export class MysqlSessionEngine implements SessionEngine<MysqlSession> {
  readonly name = "mysql";
  readonly pool: SessionPool<MysqlSession>;
  readonly translate = translate;
  readonly #connector: Connector;
  readonly #tokens = new WeakMap<MysqlSession, DrawToken>();
  readonly #waiters = new Waiters((names) => this.#whichHeld(names));

  constructor(connector: Connector) {
    this.#connector = connector;
    this.pool = new SessionPool(LIMITS, (what) => this.#open(what));
  }

  settled(): Promise<boolean> | undefined {
    return this.#connector.abandoned.settled(GONE_MS);
  }

  /** Opens a session, after the server has ended those that were given up: they may hold the locks to be acquired. */
  async #open(what: string): Promise<MysqlSession> {
    await this.settled();
    const session = await MysqlSession.open(this.#connector, what);
    try {
      const server = this.#connector.known!;
      const { table, migrate } = this.#connector.target.options;
      this.#connector.require(server, "session");
      await allowWrites(session, server);
      this.#tokens.set(session, await openTokens(session, table, migrate));
      return session;
    } catch (error) {
      session.end(error as Error);
      throw translate(what, error);
    }
  }

  keyOf(name: string): string {
    return sessionKey(this.#connector.known!, this.#connector.target.options.table, name);
  }

  async acquire(session: MysqlSession, keys: readonly string[]): Promise<Attempt> {
    const { rows: [[got, clock, drawn]] } = await session.queryPrimary(acquireEach(keys));
    const taken = keys.map((_, index) => isTaken(got?.[index]));
    const now = BigInt(clock!);
    const token = taken.includes(true) ? await this.#tokens.get(session)!(BigInt(drawn!), now) : now;
    return { taken, token, now: Number(clock) };
  }

  async release(session: MysqlSession, keys: readonly string[]): Promise<boolean[]> {
    const { rows: [[freed]] } = await session.queryPrimary(releaseEach(keys));
    return keys.map((_, index) => freed?.[index] === DONE);
  }

  async verify(session: MysqlSession, key: string): Promise<boolean> {
    const { rows } = await session.queryPrimary(`SELECT IS_USED_LOCK('${key}') = CONNECTION_ID() AS own`);
    return rows[0][0] === "1";
  }

  /** All that the server says of a holder is the id of its connection. */
  async listOthers(names: readonly string[]): Promise<LockRow[]> {
    const rows: LockRow[] = [];
    for (const name of names) {
      const { rows: [[id, clock]] } = await this.#ask(
        "list locks",
        (session) => session.queryPrimary(`SELECT IS_USED_LOCK('${this.keyOf(name)}') AS id, ${CLOCK_NOW} AS clock`),
      );
      const now = Number(clock);
      const times = { lockedUntil: null, createdAt: now, updatedAt: now, now };
      const holder = { lockedBy: `connection ${id}`, lockProcess: null, metadata: null, session: id };
      if (id !== null) rows.push({ name, token: 0n, ...holder, ...times });
    }
    return rows;
  }

  async observe(names: readonly string[]): Promise<LockActivity[]> {
    if (names.length === 0) return [];
    const { rows } = await this.#ask("tell who holds", (session) => {
      return session.query(holdersOfSessionLocks(names.map((name) => [name, this.keyOf(name)])));
    });
    return observations(names, rows);
  }

  watch(name: string, wake: () => void): Promise<Disposable> {
    return Promise.resolve(this.#waiters.add(name, wake));
  }

  async #whichHeld(names: string[]): Promise<Map<string, Looked>> {
    const { rows: [[free]] } = await this.#ask("wait for locks", (session) => {
      return session.queryPrimary(areFree(names.map((name) => this.keyOf(name))));
    });
    return new Map(names.filter((_, index) => free?.[index] !== DONE).map((name) => [name, HELD]));
  }

  /** Asks on any session. */
  async #ask(what: string, question: (session: MysqlSession) => Promise<Answer>): Promise<Answer> {
    try {
      return await question(await this.pool.session(what));
    } catch (error) {
      throw translate(what, error);
    }
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#connector, "session");
  }

  async close(): Promise<void> {
    this.#connector.close();
    this.#waiters.close();
    const { abandoned } = this.#connector;
    await abandoned.settled(CLOSE_MS);
    abandoned.stop();
  }
}

/** Undoes defaults of the server by which a connection may not write the row of tokens. */
async function allowWrites(session: MysqlSession, { variables, readCommitted, isolation }: Server): Promise<void> {
  const readOnly = variables.get("transaction_read_only") ?? variables.get("tx_read_only");
  if (readOnly === "ON") await session.query("SET SESSION TRANSACTION READ WRITE");
  if (readCommitted || !/^READ-/.test(isolation)) return;
  await session.query("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ");
}

function isTaken(letter: string | undefined): boolean {
  if (letter === DONE || letter === NOT_DONE) return letter === DONE;
  const reason = "the server refused or the statement was killed";
  throw new BackendError(`Cannot acquire a session lock: ${reason}`, { retryable: true });
}

/** Opens a session with the liveness lock that `hybrid` rows name. Rows that name the previous lock count as held until its session has ended. */
export async function openLivenessLock(connector: Connector): Promise<LivenessLock> {
  const what = "open a session for hybrid locks";
  const { sessionTimeout, table } = connector.target.options;
  await connector.abandoned.settled(GONE_MS);
  const session = await MysqlSession.open(connector, what);
  try {
    const server = connector.known!;
    connector.require(server, "hybrid");
    const { rows: [[incarnation]] } = await session.query(`SELECT ${INCARNATION}`);
    const key = livenessKey(incarnation!, sessionTimeout);
    const { rows: [[got]] } = await session.query(`SELECT GET_LOCK(CONVERT(${bytes(key)} USING utf8mb4), 0)`);
    if (got !== "1") throw new BackendError(`Cannot ${what}: the server refused a lock`);
    await shortenOrphanedLeases(session, table).catch((error) => {
      if (!isMissingTable(error)) throw error; // without a table there is no lease
    });
    if (confirmsCommits(server)) session.confirmBy(confirm(table, key));
    return { key, session };
  } catch (error) {
    session.end(error as Error);
    throw translate(what, error);
  }
}

/** Shortens the leases that another server granted. A row that a transaction has locked keeps its lease. */
async function shortenOrphanedLeases(session: MysqlSession, table: string): Promise<void> {
  const { rows } = await session.query(selectOrphaned(table));
  for (const [name] of rows) {
    await session.query(shortenOrphaned(table, [name!])).catch((error) => {
      if (!isLockWaitTimeout(error)) throw error;
    });
  }
}
