import { BackendError } from "../../core/errors.ts";
import type { Source } from "./driver.ts";
import { translate } from "./errors.ts";
import type { Session } from "./session.ts";
import { openSession } from "./session_opening.ts";

/**
 * The most locks on one connection: every statement on it slows down with them (144 µs a pair with none, 188 with
 * 1,000, 912 with 10,000).
 */
const LOCKS_PER_SESSION = 500;
/** The most connections: the server's table of locks has room for some 6,400 by default, for everybody together. */
const SESSIONS = 8;

/** The few connections that many locks ride on. */
export class Sessions {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #load = new Map<Session, number>();
  #opening: Promise<Session> | undefined;
  readonly #closing = new AbortController();

  constructor(source: Source, timeout: number) {
    this.#source = source;
    this.#timeout = timeout;
  }

  /** A session that can take one more lock; its place is counted at once. */
  async withRoom(what: string): Promise<Session> {
    for (;;) {
      if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what}: the backend was disposed of`);
      for (const [session, load] of this.#load) {
        if (session.ended) this.#load.delete(session);
        else if (load < LOCKS_PER_SESSION) {
          this.#load.set(session, load + 1);
          return session;
        }
      }
      if (this.#load.size >= SESSIONS) {
        throw new BackendError(
          `Cannot ${what}: ${
            SESSIONS * LOCKS_PER_SESSION
          } session locks are held through this backend; want "hybrid" mode`,
        );
      }
      await this.#openOne(what);
    }
  }

  /** Opens one more session; callers who come meanwhile share it. */
  async #openOne(what: string): Promise<void> {
    const opening = this.#opening ??= openSession(this.#source, this.#timeout, {
      signal: this.#closing.signal,
    });
    try {
      const session = await opening;
      if (this.#closing.signal.aborted) await session.close();
      else if (!this.#load.has(session)) this.#load.set(session, 0);
    } catch (error) {
      throw translate(what, error);
    } finally {
      if (this.#opening === opening) this.#opening = undefined;
    }
  }

  /** A lock is gone: its session has room for one more. */
  makeRoom(session: Session): void {
    const load = this.#load.get(session);
    if (load !== undefined) this.#load.set(session, load - 1);
  }

  /** Ends all sessions, and with them the locks. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session of PostgreSQL: the backend was disposed of"));
    await Promise.all([...this.#load.keys()].map((session) => session.close()));
    await this.#opening?.then((session) => session.close(), () => {});
  }
}
