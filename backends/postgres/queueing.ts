import { startTimer, type Timer } from "../../core/runtime.ts";
import type { Client } from "./client.ts";
import type { Source } from "./driver.ts";
import { codeOf } from "./errors.ts";
import { cancelWait } from "./queue_cancelling.ts";
import { QueueConnections } from "./queue_connections.ts";
import { Lookout } from "./queue_lookout.ts";
import type { Place } from "./queue_place.ts";
import type { Session } from "./session.ts";
import type { SessionKeys } from "./session_keys.ts";
import type { SessionStatements } from "./session_statements.ts";

/** Pauses before a place is taken again when it was lost (ms): from the first to the last, doubling. */
const RETRY_FIRST = 50;
const RETRY_LAST = 1_000;
/** Beyond the connections, names are tried for this often (ms). */
const CROWDED = 50;

/**
 * Waiting in the server's own queue: a blocked `pg_advisory_lock` on a connection of its own for each awaited name. The
 * lock goes over in the order in which processes came, no sooner than by being told (1.1 ms in the median both ways). The
 * price is a snapshot for as long as the wait lasts: `CREATE INDEX CONCURRENTLY`, which takes 4 to 12 ms beside waiters
 * that are told, ends when the wait does, and dead rows are not cleared away.
 */
export class Queueing {
  readonly #connections: QueueConnections;
  readonly #lookout: Lookout;
  readonly #client: Client;
  readonly #sql: SessionStatements;
  readonly #keys: SessionKeys;
  readonly #places = new Map<string, Place>();
  readonly #underway = new Set<Promise<unknown>>();

  constructor(source: Source, timeout: number, client: Client, sql: SessionStatements, keys: SessionKeys) {
    this.#connections = new QueueConnections(source, timeout);
    this.#lookout = new Lookout(client, () => this.#waiting());
    this.#client = client;
    this.#sql = sql;
    this.#keys = keys;
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
    this.#connections.putBack(session);
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
    this.#lookout.stop();
    await this.#connections.close();
  }

  /** The sessions that wait. */
  #waiting(): Session[] {
    const places = [...this.#places.values()].filter(({ granted }) => !granted);
    return places.map(({ session }) => session).filter((session) => session !== undefined);
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
    if (this.#connections.crowded) {
      this.#ring(place);
      return this.#begin(place, CROWDED);
    }
    let session: Session | undefined;
    try {
      session = await this.#connections.take();
      if (this.#isWanted(place)) {
        place.session = session;
        this.#lookout.start();
        await session.wait(this.#sql.queue, [this.#keys.of(place.name)]);
      } else return this.#connections.putBack(session);
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
    if (session.ended) {
      place.session = undefined;
      return this.#again(place);
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
    } else this.#track(cancelWait(this.#client, session, place.standing, () => place.session === session));
  }

  /** Gives back a lock that nobody wants. */
  async #free(session: Session, name: string): Promise<void> {
    try {
      await session.send(this.#sql.release, [this.#keys.of(name)]);
      this.#connections.putBack(session);
    } catch {
      await session.close(); // and with it the lock
    }
  }
}
