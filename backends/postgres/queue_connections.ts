import { startTimer, type Timer } from "../../core/runtime.ts";
import type { Source } from "./driver.ts";
import type { Session } from "./session.ts";
import { openSession } from "./session_opening.ts";

/** The most connections for those who wait: one for each awaited name, which stays with the lock when it is had. */
const CONNECTIONS = 16;
/** How long a connection stays after it was last used (ms). */
const LINGER = 10_000;

/** Has the server notice the death of a client that it keeps waiting: without it the place stays until it is served. */
const WATCHFUL = `
  SELECT set_config('client_connection_check_interval', '1000', false) AS made
  WHERE current_setting('server_version_num')::integer >= 140000`;

/** The connections on which one backend waits in the server's queues, each for one name. */
export class QueueConnections {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #sessions = new Set<Session>();
  readonly #idle = new Map<Session, Timer>();
  readonly #closing = new AbortController();
  #opening = 0;

  constructor(source: Source, timeout: number) {
    this.#source = source;
    this.#timeout = timeout;
  }

  /** Whether there can be no more. */
  get crowded(): boolean {
    return this.#idle.size === 0 && this.#sessions.size + this.#opening >= CONNECTIONS;
  }

  /** A connection on which nothing waits. */
  async take(): Promise<Session> {
    for (const [session, timer] of this.#idle) {
      timer.stop();
      this.#idle.delete(session);
      if (session.ended === undefined) return session;
    }
    this.#opening++;
    try {
      const session = await openSession(this.#source, this.#timeout, { signal: this.#closing.signal });
      this.#sessions.add(session);
      session.onEnd(() => this.#forget(session));
      await session.send(WATCHFUL).catch(() => {}); // not every system that runs a server can do that
      return session;
    } finally {
      this.#opening--;
    }
  }

  /** The session holds nothing and waits for nothing: it may be taken again. Those of others are left alone. */
  putBack(session: Session): void {
    if (!this.#sessions.has(session) || this.#idle.has(session)) return;
    this.#idle.set(session, startTimer(LINGER, () => void session.close(), false));
  }

  /** Ends all, and with them what they hold. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all([...this.#sessions].map((session) => session.close()));
  }

  #forget(session: Session): void {
    this.#sessions.delete(session);
    this.#idle.get(session)?.stop();
    this.#idle.delete(session);
  }
}
