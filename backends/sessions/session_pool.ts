import { BackendError } from "../../core/errors.ts";
import type { Session } from "./session.ts";

/** How many locks the sessions of a pool may carry. */
interface PoolLimits {
  /** Locks on one session: the server slows down with them. */
  readonly locksPerSession: number;
  /** Locks in one statement. @default Infinity */
  readonly locksPerStatement?: number;
  /** Sessions. @default Infinity */
  readonly sessions?: number;
}

/** Capacity for so many locks on one session, for one statement. */
interface Reservation<S> {
  readonly session: S;
  /** How many locks. */
  readonly places: number;
}

/** Few sessions that carry many locks; one more is opened when all are full. */
export class SessionPool<S extends Session> {
  readonly #limits: Required<PoolLimits>;
  readonly #open: (what: string, signal: AbortSignal) => Promise<S>;
  readonly #load = new Map<S, number>();
  readonly #closing = new AbortController();
  #opening: Promise<S> | undefined;

  /** @param open Opens a session that locks can be acquired on. */
  constructor(limits: PoolLimits, open: (what: string, signal: AbortSignal) => Promise<S>) {
    this.#limits = { locksPerStatement: Infinity, sessions: Infinity, ...limits };
    this.#open = open;
  }

  /** Any session with capacity, for a question to the server. */
  async session(what: string): Promise<S> {
    const [{ session }] = await this.reserve(1, () => what);
    this.release(session, 1);
    return session;
  }

  /** Reserves capacity for `count` locks. It is taken at once: many may ask in the same moment. */
  async reserve(count: number, what: () => string): Promise<Reservation<S>[]> {
    const reservations: Reservation<S>[] = [];
    try {
      for (let left = count; left > 0;) {
        const reservation = this.#withCapacity(left, what);
        if (reservation === undefined) await this.#openOne(what());
        else left -= reservation.places;
        if (reservation) reservations.push(reservation);
      }
    } catch (error) {
      for (const { session, places } of reservations) this.release(session, places);
      throw error;
    }
    return reservations;
  }

  /** Gives back capacity on a session. */
  release(session: S, places: number): void {
    const load = this.#load.get(session);
    if (load !== undefined) this.#load.set(session, load - places);
  }

  /** Ends all sessions, and with them the locks. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session: the backend was disposed of"));
    await Promise.all([...this.#load.keys()].map((session) => session.close()));
    await this.#opening?.catch(() => {});
  }

  /** @throws {BackendError} When it is closed. */
  requireOpen(what: () => string): void {
    if (this.#closing.signal.aborted) throw new BackendError(`Cannot ${what()}: the backend was disposed of`);
  }

  /** Reserves on the first session that has capacity; `undefined` when a new session is needed. */
  #withCapacity(wanted: number, what: () => string): Reservation<S> | undefined {
    this.requireOpen(what);
    const { locksPerSession, locksPerStatement, sessions } = this.#limits;
    for (const [session, load] of this.#load) {
      if (session.ended) this.#load.delete(session);
      else if (load < locksPerSession) {
        const places = Math.min(locksPerSession - load, locksPerStatement, wanted);
        this.#load.set(session, load + places);
        return { session, places };
      }
    }
    if (this.#load.size < sessions) return undefined;
    throw new BackendError(
      `Cannot ${what()}: ${sessions * locksPerSession} session locks are held through this backend; want "hybrid" mode`,
    );
  }

  /** Opens one more session; callers that come meanwhile share it. */
  async #openOne(what: string): Promise<void> {
    const { signal } = this.#closing;
    await (this.#opening ??= this.#open(what, signal).then(async (session) => {
      this.#load.set(session, 0);
      if (signal.aborted) await session.close();
      return session;
    }).finally(() => this.#opening = undefined));
  }
}
