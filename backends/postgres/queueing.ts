import { monotonic, startTimer, type Timer } from "../../core/runtime.ts";
import type { Client } from "./client.ts";
import type { Source } from "./driver.ts";
import { codeOf } from "./errors.ts";
import { Session } from "./session.ts";
import type { SessionStatements } from "./session_statements.ts";

/** The most connections for those who wait: one for each awaited name, which stays with the lock when it is had. */
const CONNECTIONS = 16;
/** How long a connection stays after it was last used (ms). */
const LINGER = 10_000;
/** Pauses before a place is taken again when it was lost (ms): from the first to the last, doubling. */
const RETRY_FIRST = 50;
const RETRY_LAST = 1_000;
/** Beyond the connections, names are tried for this often (ms). */
const CROWDED = 50;
/** Pause between looks whether the server still has our places (ms): a network may have swallowed its answer. */
const LOOK = 1_000;
/** After how long a cancellation is sent again, since it may have come before its statement (ms), and how often. */
const CANCEL_PAUSE = 100;
const CANCELLATIONS = 20;

/** Which sessions are in the server's queue. `(JSON array of process ids)` */
const QUEUED = `
  SELECT l.pid::text AS pid FROM json_array_elements_text($1::text::json) AS mine (pid)
  JOIN pg_locks AS l ON l.pid = mine.pid::integer AND l.locktype = 'advisory' AND NOT l.granted`;
const CANCEL = "SELECT pg_cancel_backend($1::text::integer)::text AS sent";
/** Has the server notice the death of a client that it keeps waiting: without it the place stays until it is served. */
const WATCHFUL = `
  SELECT set_config('client_connection_check_interval', '1000', false) AS made
  WHERE current_setting('server_version_num')::integer >= 140000`;

/** A place in the server's queue for one name. */
interface Place {
  readonly name: string;
  readonly wakes: Set<() => void>;
  /** The connection that waits, and then has the lock. */
  session?: Session | undefined;
  /** Whether it has the lock, which nobody of this process has taken over yet. */
  granted: boolean;
  /** Stops listening to the end of a session that has the lock. */
  forget?: () => void;
  /** The wait under way. */
  standing: Promise<void>;
  pause: number;
  timer?: Timer;
}

/**
 * Waiting in the server's own queue: a blocked `pg_advisory_lock` on a connection of its own for each awaited name. The
 * lock goes over in the order in which processes came, 0.2 ms after its release; the price is a snapshot for as long as
 * the wait lasts, which holds up `CREATE INDEX CONCURRENTLY` and keeps dead rows from being cleared away.
 */
export class Queueing {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #client: Client;
  readonly #sql: SessionStatements;
  readonly #places = new Map<string, Place>();
  readonly #sessions = new Set<Session>();
  readonly #idle = new Map<Session, Timer>();
  readonly #underway = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #opening = 0;
  #look: Timer | undefined;
  #missed = new Set<Session>();

  constructor(source: Source, timeout: number, client: Client, sql: SessionStatements) {
    this.#source = source;
    this.#timeout = timeout;
    this.#client = client;
    this.#sql = sql;
  }

  /** Calls `wake` when the lock was had for this process, and when it has to be tried for, until disposal. */
  add(name: string, wake: () => void): Promise<Disposable> {
    let place = this.#places.get(name);
    if (place === undefined) {
      place = { name, wakes: new Set(), granted: false, standing: Promise.resolve(), pause: RETRY_FIRST };
      this.#places.set(name, place);
      this.#begin(place, 0);
    }
    const entry = place;
    entry.wakes.add(wake);
    return Promise.resolve({ [Symbol.dispose]: () => this.#remove(entry, wake) });
  }

  /** The session that had the lock for this process, which is the caller's now; or whether that is waited for. */
  take(name: string): Session | "waiting" | undefined {
    const place = this.#places.get(name);
    if (place === undefined || place.session?.ended) return undefined;
    if (!place.granted) return place.session && "waiting";
    const { session } = place;
    place.forget!();
    place.session = undefined;
    place.granted = false;
    this.#begin(place, 0); // for the next of this process, if there is one
    return session;
  }

  /** Whether a place is kept for a name. */
  awaits(name: string): boolean {
    return this.#places.has(name);
  }

  /** The session holds nothing any more: others may wait on it. */
  putBack(session: Session): void {
    if (!this.#sessions.has(session) || this.#idle.has(session)) return;
    this.#idle.set(session, startTimer(LINGER, () => this.#track(session.close()), false));
  }

  /** Leaves every queue, and frees what was had for this process. */
  async close(): Promise<void> {
    for (const place of [...this.#places.values()]) {
      const wakes = [...place.wakes];
      for (const wake of wakes) this.#remove(place, wake);
      for (const wake of wakes) wake(); // their next try says that it is over
    }
    let timer: Timer | undefined;
    const late = new Promise<void>((resolve) => timer = startTimer(RETRY_LAST, resolve, true));
    await Promise.race([Promise.all(this.#underway), late]);
    timer!.stop();
    this.#closing.abort();
    this.#look?.stop();
    await Promise.all([...this.#sessions].map((session) => session.close()));
  }

  #isWanted(place: Place): boolean {
    return this.#places.get(place.name) === place;
  }

  #ring(place: Place): void {
    for (const wake of [...place.wakes]) wake();
  }

  /** What is under way when everything is closed is waited for; what becomes of it is of no interest. */
  #track(work: Promise<unknown>): void {
    const quiet = Promise.allSettled([work]).then(() => void this.#underway.delete(quiet));
    this.#underway.add(quiet);
  }

  /** Keeps the process alive: somebody is waiting. */
  #begin(place: Place, delay: number): void {
    place.timer?.stop();
    place.timer = startTimer(delay, () => {
      if (this.#isWanted(place)) this.#track(place.standing = this.#stand(place));
    }, true);
  }

  /** Waits in the queue once. */
  async #stand(place: Place): Promise<void> {
    if (this.#idle.size === 0 && this.#sessions.size + this.#opening >= CONNECTIONS) {
      this.#ring(place);
      return this.#begin(place, CROWDED);
    }
    let session: Session | undefined;
    try {
      session = await this.#connect();
      if (this.#isWanted(place)) {
        place.session = session;
        this.#watchOver();
        await session.wait(this.#sql.queue, [place.name]);
      } else return this.putBack(session);
    } catch (error) {
      place.session = undefined;
      // a cancellation may come when the lock was just had
      if (session && !session.ended && codeOf(error) === "57014") await this.#free(session, place.name);
      else await session?.close();
      return this.#again(place);
    }
    if (!this.#isWanted(place)) {
      place.session = undefined;
      return await this.#free(session, place.name);
    }
    place.granted = true;
    place.pause = RETRY_FIRST;
    place.forget = session.onEnd(() => this.#lost(place, session));
    this.#ring(place);
  }

  /** The place is lost: those who wait ask by themselves, which also tells of a server that is gone. */
  #again(place: Place): void {
    if (!this.#isWanted(place)) return;
    this.#ring(place);
    this.#begin(place, place.pause);
    place.pause = Math.min(place.pause * 2, RETRY_LAST);
  }

  /** The session ended with a lock that nobody had taken over. */
  #lost(place: Place, session: Session): void {
    if (place.session !== session) return;
    place.session = undefined;
    place.granted = false;
    this.#again(place);
  }

  #remove(place: Place, wake: () => void): void {
    place.wakes.delete(wake);
    if (place.wakes.size > 0 || !this.#isWanted(place)) return;
    this.#places.delete(place.name);
    place.timer?.stop();
    const { session, granted } = place;
    if (session === undefined) return;
    if (granted) {
      place.forget!();
      place.session = undefined;
      this.#track(this.#free(session, place.name));
    } else this.#track(this.#cancel(place, session));
  }

  /** Gives back a lock that nobody wants. */
  async #free(session: Session, name: string): Promise<void> {
    try {
      await session.send(this.#sql.release, [name]);
      this.putBack(session);
    } catch {
      await session.close(); // and with it the lock
    }
  }

  /** Has the server end the wait, so that no place stays in its queue. */
  async #cancel(place: Place, session: Session): Promise<void> {
    for (let count = 0; place.session === session && !session.ended; count++) {
      try {
        if (count === CANCELLATIONS) throw new Error("Cannot cancel a wait");
        await this.#client.send(CANCEL, [session.pid]);
      } catch {
        return await session.close(); // the server sees the end of the connection by itself
      }
      await new Promise<void>((resolve) => {
        const timer = startTimer(CANCEL_PAUSE, resolve, true);
        place.standing.then(() => (timer.stop(), resolve()));
      });
    }
  }

  /** A connection on which nothing waits. */
  async #connect(): Promise<Session> {
    for (const [session, timer] of this.#idle) {
      timer.stop();
      this.#idle.delete(session);
      if (session.ended === undefined) return session;
    }
    this.#opening++;
    try {
      const session = await Session.open(this.#source, this.#timeout, { signal: this.#closing.signal });
      this.#sessions.add(session);
      session.onEnd(() => {
        this.#sessions.delete(session);
        this.#idle.get(session)?.stop();
        this.#idle.delete(session);
      });
      await session.send(WATCHFUL).catch(() => {}); // not every system that runs a server can do that
      return session;
    } finally {
      this.#opening--;
    }
  }

  #watchOver(): void {
    this.#look ??= startTimer(LOOK, () => this.#track(this.#lookAtPlaces()), false);
  }

  /** Gives up the connections that wait by our reckoning, and twice in a row not by the server's. */
  async #lookAtPlaces(): Promise<void> {
    const waiting = [...this.#places.values()].filter(({ granted }) => !granted).map(({ session }) => session)
      .filter((session) => session !== undefined);
    const askedAt = monotonic();
    const missed = new Set<Session>();
    try {
      if (waiting.length > 0) {
        const rows = await this.#client.send(QUEUED, [JSON.stringify(waiting.map(({ pid }) => pid))]);
        const queued = new Set(rows.map(({ pid }) => pid));
        for (const session of waiting) {
          if (queued.has(session.pid) || (session.waitsSince ?? Infinity) > askedAt - LOOK) continue;
          if (this.#missed.has(session)) await session.close();
          else missed.add(session);
        }
      }
    } catch {
      // a server that does not answer here breaks the connections that wait as well
    }
    this.#missed = missed;
    this.#look = undefined;
    if (this.#places.size > 0 && !this.#closing.signal.aborted) this.#watchOver();
  }
}
