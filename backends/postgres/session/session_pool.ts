import { BackendError } from "../../../core/errors.ts";
import type { Source } from "../connection/driver.ts";
import { translate } from "../errors.ts";
import type { Session } from "./session.ts";
import { openSession } from "./open_session.ts";

/**
 * The most locks on one connection: every statement on it slows down with them (144 µs a pair with none, 188 with
 * 1,000, 912 with 10,000).
 */
const LOCKS_PER_SESSION = 500;
/** The most connections: the server's table of locks has room for some 6,400 by default, for everybody together. */
const SESSIONS = 8;

/** Places for locks on a session. */
export interface Share {
  readonly session: Session;
  readonly places: number;
}

/** The few connections that many locks ride on. */
export class Sessions {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #begin: (session: Session) => Promise<void>;
  readonly #load = new Map<Session, number>();
  #opening: Promise<Session> | undefined;
  readonly #closing = new AbortController();

  /** @param begin Sends what each new session begins with. */
  constructor(source: Source, timeout: number, begin: (session: Session) => Promise<void>) {
    this.#source = source;
    this.#timeout = timeout;
    this.#begin = begin;
  }

  /** A session that can take one more lock; its place is counted at once. */
  async withRoom(what: () => string): Promise<Session> {
    const [{ session }] = await this.withRoomFor(1, what);
    return session;
  }

  /** Sessions that can take so many more locks together; their places are counted at once. */
  async withRoomFor(count: number, what: () => string): Promise<Share[]> {
    const shares: Share[] = [];
    try {
      for (let left = count; left > 0;) {
        const share = this.#room(left, what) ?? await this.#openOne(what);
        if (share === undefined) continue;
        shares.push(share);
        left -= share.places;
      }
    } catch (error) {
      for (const { session, places } of shares) this.makeRoom(session, places);
      throw error;
    }
    return shares;
  }

  /** As many places as the first session has that has any; none when one more has to be opened. */
  #room(wanted: number, what: () => string): Share | undefined {
    if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what()}: the backend was disposed of`);
    for (const [session, load] of this.#load) {
      if (session.ended) this.#load.delete(session);
      else if (load < LOCKS_PER_SESSION) {
        const places = Math.min(LOCKS_PER_SESSION - load, wanted);
        this.#load.set(session, load + places);
        return { session, places };
      }
    }
    if (this.#load.size < SESSIONS) return undefined;
    throw new BackendError(
      `Cannot ${what()}: ${
        SESSIONS * LOCKS_PER_SESSION
      } session locks are held through this backend; want "hybrid" mode`,
    );
  }

  /** Opens one more session; callers who come meanwhile share it. */
  async #openOne(what: () => string): Promise<undefined> {
    const opening = this.#opening ??= this.#openNew();
    try {
      const session = await opening;
      if (this.#closing.signal.aborted) await session.close();
      else if (!this.#load.has(session)) this.#load.set(session, 0);
    } catch (error) {
      throw translate(what(), error);
    } finally {
      if (this.#opening === opening) this.#opening = undefined;
    }
  }

  async #openNew(): Promise<Session> {
    const session = await openSession(this.#source, this.#timeout, { signal: this.#closing.signal });
    try {
      await this.#begin(session);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Locks are gone: their session has room for others. */
  makeRoom(session: Session, places = 1): void {
    const load = this.#load.get(session);
    if (load !== undefined) this.#load.set(session, load - places);
  }

  /** Ends all sessions, and with them the locks. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session of PostgreSQL: the backend was disposed of"));
    await Promise.all([...this.#load.keys()].map((session) => session.close()));
    await this.#opening?.then((session) => session.close(), () => {});
  }
}
