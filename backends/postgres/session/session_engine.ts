import type { Backend, Diagnostic, LockActivity, LockRow } from "../../../core/backend.ts";
import type { LivenessLock } from "../../sessions/liveness.ts";
import type { Attempt, SessionEngine } from "../../sessions/session_engine.ts";
import { SessionPool } from "../../sessions/session_pool.ts";
import { closeAdvisorySessions } from "../advisory/sessions.ts";
import type { Client } from "../connection/client.ts";
import type { GuardedSource } from "../connection/abandoned.ts";
import { diagnose } from "../diagnose.ts";
import { codeOf, isMissing, translate } from "../errors.ts";
import { acquireLivenessLock, shortenForeignLeases } from "../rows/liveness.ts";
import { lockActivity } from "../rows/lock_activity.ts";
import { arrayOf, toLockRow } from "../rows/rows.ts";
import { sessionKey } from "../keys.ts";
import { namespaceOf } from "../schema.ts";
import { register } from "../wakeup/registration.ts";
import { pauseOf, Waiters } from "../wakeup/waiters.ts";
import { openSession, type PostgresSession } from "./session.ts";
import { DONE, type SessionStatements, sessionStatementsFor } from "./session_statements.ts";

/**
 * Every statement slows down with the locks on its session (144 µs a pair with none, 188 with 1,000, 912 with 10,000),
 * and the server's table of locks has room for some 6,400 by default, for all clients together.
 */
const LIMITS = { locksPerSession: 500, sessions: 8 };

/** What the session locks of PostgreSQL are made of. */
interface SessionParts {
  /** For questions about others' locks. */
  readonly client: Client;
  /** Where sessions come from. */
  readonly source: GuardedSource;
  /** The table, which names the sequence and the keys. */
  readonly table: string;
  /** Seconds of silence after which the server ends a session. */
  readonly timeout: number;
  /** Makes sure of the sequence again, after it was dropped. */
  readonly restore: () => Promise<void>;
}

/** Session locks with advisory locks. */
export class PostgresSessionEngine implements SessionEngine<PostgresSession> {
  readonly name = "postgres";
  readonly pool: SessionPool<PostgresSession>;
  readonly translate = translate;
  readonly #parts: SessionParts;
  readonly #sql: SessionStatements;
  readonly #waiters: Waiters;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#sql = sessionStatementsFor(parts.table);
    this.pool = new SessionPool(LIMITS, (_what, signal) => this.#open(signal));
    // only an acquisition shows whether a key is free, and that is the waiter's own next try
    const look = (names: readonly string[]) => Promise.resolve({ free: names, again: pauseOf(true) });
    this.#waiters = new Waiters(parts.source, parts.timeout, look, register(namespaceOf(parts.table)));
  }

  settled(): Promise<boolean> | undefined {
    const { abandoned } = this.#parts.source;
    return abandoned?.any ? abandoned.settled().then(() => true, () => false) : undefined;
  }

  /** A role that may draw tokens but not advance them goes on without: `doctor` reports it. */
  async #open(signal: AbortSignal): Promise<PostgresSession> {
    const session = await openSession(this.#parts.source, this.#parts.timeout, { signal });
    try {
      await session.send(this.#sql.advance).catch((error) => {
        if (codeOf(error) !== "42501") throw error;
      });
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  keyOf(name: string): string {
    return sessionKey(namespaceOf(this.#parts.table), name);
  }

  async acquire(session: PostgresSession, keys: readonly string[]): Promise<Attempt> {
    const single = keys.length === 1;
    const [row] = single
      ? await session.send(this.#sql.acquire, [keys[0]])
      : await session.send(this.#sql.acquireEach, [arrayOf(keys)]);
    const taken = keys.map((_, index) => single ? row.token !== null : row.taken![index] === DONE);
    return { taken, token: BigInt(row.token ?? 0), now: Number(row.now) };
  }

  async release(session: PostgresSession, keys: readonly string[]): Promise<boolean[]> {
    if (keys.length === 1) return [(await session.send(this.#sql.release, [keys[0]]))[0].freed === "true"];
    const [row] = await session.send(this.#sql.releaseEach, [arrayOf(keys)]);
    return keys.map((_, index) => row.freed![index] === DONE);
  }

  async verify(session: PostgresSession, key: string): Promise<boolean> {
    const [row] = await session.send(this.#sql.verify, [key]);
    return row.held === "true";
  }

  /** The sequence may have been dropped. */
  async repair(error: unknown): Promise<boolean> {
    if (!isMissing(error)) return false;
    await this.#parts.restore();
    return true;
  }

  async listOthers(names: readonly string[]): Promise<LockRow[]> {
    try {
      return (await this.#parts.client.send(this.#sql.holders, [JSON.stringify(names)])).map(toLockRow);
    } catch (error) {
      throw translate("list locks", error);
    }
  }

  watch(name: string, wake: () => void): Promise<Disposable> {
    return this.#waiters.add(name, wake);
  }

  observe(names: readonly string[]): Promise<LockActivity[]> {
    return lockActivity(this.#parts.client, this.#parts.table, "session", names);
  }

  diagnose(): Promise<Diagnostic[]> {
    return diagnose(this.#parts.client, this.#parts.table, "session");
  }

  async close(backend: Backend): Promise<void> {
    await closeAdvisorySessions(backend);
    await this.#waiters.close(); // waiters try once more, and hear that the backend is closed
    await this.#parts.client.close();
    await this.#parts.source.abandoned?.close();
  }
}

/** Opens a session with the liveness lock that `hybrid` rows of a table name. */
export async function openLivenessLock(
  source: GuardedSource,
  table: string,
  timeout: number,
  signal: AbortSignal,
): Promise<LivenessLock> {
  let session: PostgresSession | undefined;
  try {
    session = await openSession(source, timeout, { signal });
    for (;;) {
      const random = String(crypto.getRandomValues(new Uint32Array(1))[0]);
      const [{ key, taken }] = await session.send(acquireLivenessLock(timeout), [random]);
      if (taken !== "true") continue;
      await session.send(shortenForeignLeases(table)).catch((error) => {
        if (!isMissing(error)) throw error; // without a table there is no lease
      });
      return { key: key!, session };
    }
  } catch (error) {
    await session?.close();
    throw translate("open a session for hybrid locks", error);
  }
}
