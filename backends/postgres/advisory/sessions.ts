import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import { once, usable } from "../../../core/util/once.ts";
import { startTimer } from "../../../core/util/runtime.ts";
import type { Source } from "../connection/driver.ts";
import { lookAt } from "../connection/pooling.ts";
import { requireSessions } from "../connection/server.ts";
import { isNotPrimary, isRowLocked, translate } from "../errors.ts";
import { READ_ONLY, SERVER } from "../rows/fragments.ts";
import { openSession, type PostgresSession } from "../session/session.ts";
import { type AdvisoryKey, keyArguments, keyParameters } from "./key.ts";
import { type Acquired, cancellable, lockTimeoutOf, noticeDeath, type Wait } from "./waiting.ts";

/** Where sessions come from. */
export interface Origin {
  /** Opens connections. */
  readonly source: Source;
  /** Seconds of silence after which the server ends a session. */
  readonly timeout: number;
}

/** The share of that time after which a call that still waits watches the server. */
const WATCH_SHARE = 1 / 3;

/** What there is behind a pooler in transaction mode. */
const POOLED = '"lease" mode, an address of the server itself, or a lock in a transaction, as of "sql.begin"';

/**
 * The sessions of one client, each with one advisory lock that is held or waited for: the server alone decides, in the
 * order of its own queue, between tasks of this process as well.
 */
class AdvisorySessions {
  readonly #origin: Origin;
  readonly #lasting: boolean;
  readonly #sessions = new Set<PostgresSession>();
  readonly #closing = new AbortController();
  /** A session without a lock, for the next call. */
  #idle: PostgresSession | undefined;
  /** Shows calls that wait whether the server is alive: on their own sessions a heartbeat would wait for the lock. */
  readonly #watcher = once(() => this.#open());
  #waiting = 0;
  /** Makes sure that sessions can carry locks here. */
  readonly #trust = once(async () => {
    const { source } = this.#origin;
    await requireSessions("advisory locks", await lookAt(source, this.#closing.signal), source, POOLED);
  });

  /** @param lasting Whether `close` will be called: by a backend, but not by a `sql` instance. */
  constructor(origin: Origin, lasting: boolean) {
    this.#origin = origin;
    this.#lasting = lasting;
  }

  /** Acquires a lock; returns `undefined` when it is held for longer than the wait. `prefix` is put before each statement. */
  async acquire(key: AdvisoryKey, shared: boolean, prefix: string, wait: Wait): Promise<Acquired | undefined> {
    const ending = AbortSignal.any([wait.ending, this.#closing.signal]);
    const call = `${shared ? "_shared" : ""}(${keyArguments(key)})::text AS done, ${READ_ONLY}, ${SERVER}`;
    const parameters = keyParameters(key);
    const session = await this.#take(ending);
    const send = async (statement: string) =>
      (await session.send(`${prefix}SELECT ${statement}${call}`, parameters, prefix === ""))[0].done === "true";
    try {
      if (!await send("pg_try_advisory_lock")) {
        const limit = lockTimeoutOf(wait);
        // the limit is set before what comes after it in FROM
        const setting = `set_config('lock_timeout', '${limit}', true) AS setting OFFSET 0`;
        const blocking = `${prefix}SELECT pg_advisory_lock${call} FROM (SELECT ${setting}) AS own WHERE setting <> ''`;
        if (limit === undefined || !await this.#wait(session, blocking, parameters, ending)) {
          await this.#giveBack(session);
          return undefined;
        }
      }
      ending.throwIfAborted();
    } catch (error) {
      const reason = this.#closing.signal.aborted ? this.#closing.signal.reason : session.ended ?? error;
      await session.close(); // it may hold the lock or not
      throw reason;
    }
    return { session, release: () => this.#release(session, () => send("pg_advisory_unlock"), key) };
  }

  /** Waits in the server's queue; returns whether the lock was granted. */
  async #wait(session: PostgresSession, text: string, parameters: string[], ending: AbortSignal): Promise<boolean> {
    this.#waiting++;
    const over = new AbortController();
    const timer = startTimer(this.#origin.timeout * 1e3 * WATCH_SHARE, () => this.#watch(session, over.signal), false);
    try {
      await session.wait(text, parameters, (query) => cancellable(query, ending));
      return true;
    } catch (error) {
      if (isRowLocked(error)) return false;
      throw error;
    } finally {
      over.abort();
      timer.stop();
      if (--this.#waiting === 0) await this.#endWatcher();
    }
  }

  /** Ends a session that waits when the watcher ends, or cannot be opened. */
  async #watch(session: PostgresSession, over: AbortSignal): Promise<void> {
    const end = (reason: Error) => void (over.aborted || session.end(reason));
    try {
      const watcher = await usable(this.#watcher, ({ ended }) => ended === undefined);
      over.addEventListener("abort", watcher.onEnd(() => end(watcher.ended!)));
    } catch (error) {
      end(error as Error);
    }
  }

  async #endWatcher(): Promise<void> {
    const watcher = this.#watcher.current;
    this.#watcher.clear();
    await watcher?.then((session) => session.close(), () => {});
  }

  /** Releases a lock at the server. */
  async #release(session: PostgresSession, unlock: () => Promise<boolean>, key: AdvisoryKey): Promise<boolean> {
    if (session.ended) return false;
    try {
      const released = await unlock();
      await this.#giveBack(session);
      return released;
    } catch (error) {
      await session.close();
      if (isNotPrimary(error)) return false; // a lock of a server that takes no writes grants nothing
      throw translate(`release advisory lock ${key}`, error);
    }
  }

  /** Returns a session without a lock. */
  async #take(ending: AbortSignal): Promise<PostgresSession> {
    ending.throwIfAborted();
    const idle = this.#idle;
    this.#idle = undefined;
    return idle?.ended === undefined && idle ? idle : await this.#open(ending);
  }

  /** Keeps one session for the next call, where `close` will end it. */
  async #giveBack(session: PostgresSession): Promise<void> {
    const keeps = this.#lasting && this.#idle === undefined && !this.#closing.signal.aborted;
    if (keeps) this.#idle = session;
    else await session.close();
  }

  async #open(signal?: AbortSignal): Promise<PostgresSession> {
    await this.#trust();
    const { source, timeout } = this.#origin;
    const session = await openSession(source, timeout, { signal });
    try {
      // there was a primary, so a replica is a passing error: the address may lead to another server soon
      await session.send(`SELECT ${noticeDeath(false)}, ${READ_ONLY}`, []);
      this.#closing.signal.throwIfAborted();
    } catch (error) {
      await session.close();
      throw error;
    }
    this.#sessions.add(session);
    session.onEnd(() => this.#sessions.delete(session));
    return session;
  }

  /** Ends the sessions, and with them the locks and the waits. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot acquire an advisory lock: the backend was disposed of"));
    await Promise.all([this.#endWatcher(), ...[...this.#sessions].map((session) => session.close())]);
  }
}

const sessionsOf = new WeakMap<object, AdvisorySessions>();

/** Where the sessions of backends come from. */
const origins = new WeakMap<object, Origin>();

/** Marks backends whose origin is known to the copy of this package that made them, and to no other. */
const REGISTERED = Symbol.for("@lockmgr/lockmgr/connections");

/** Says where sessions for a backend's advisory locks come from. */
export function registerOrigin(backend: object, origin: Origin): void {
  origins.set(backend, origin);
  Object.defineProperty(backend, REGISTERED, { value: true });
}

/** Returns the advisory sessions of a backend, or with an origin those of a `sql` instance. */
export function advisorySessions(client: object, given?: Origin): AdvisorySessions {
  const origin = given ?? origins.get(client);
  if (origin === undefined && REGISTERED in client) {
    throw new TypeError(
      "Cannot use advisory locks of this backend: another copy of lockmgr made it; import advisoryLock and the backend " +
        "from the same copy",
    );
  }
  if (origin === undefined) {
    throw new UnsupportedError("Cannot use advisory locks through a function: want a URL or a postgres.js instance");
  }
  let sessions = sessionsOf.get(client);
  if (sessions === undefined) sessionsOf.set(client, sessions = new AdvisorySessions(origin, given === undefined));
  return sessions;
}

/** Ends the advisory locks of a backend, if it has any. */
export async function closeAdvisorySessions(backend: object): Promise<void> {
  await sessionsOf.get(backend)?.close();
}
