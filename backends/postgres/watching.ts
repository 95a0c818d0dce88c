import { startTimer, type Timer } from "../../core/runtime.ts";
import type { Source } from "./driver.ts";
import { CHANNEL, keyOf } from "./keys.ts";
import { Session } from "./session.ts";

/** Pauses between looks while somebody waits (ms): for notifications that were missed, and for sessions that ended. */
const SAFETY = 1_000;
const VOUCHED = 50;
/** Pauses before the shared connection is opened again (ms): from the first to the last, doubling. */
const RECONNECT_FIRST = 50;
const RECONNECT_LAST = 2_000;
/** How long the connection stays after the last waiter has left (ms). */
const LINGER = 10_000;

/** Takes back the announcement of a waiter. */
const UNLOCK = "SELECT pg_advisory_unlock_shared($1::text::bigint)::text AS gone";

/** What is waited for under one name. */
interface Awaited {
  readonly name: string;
  readonly wakes: Set<() => void>;
  /** The key under which releases are told, once the server knows of the waiter. */
  key?: string;
}

/**
 * What the safety net finds: the names that may be free by now, and after how many milliseconds to look again (what
 * sessions vouch for is free as soon as they end, and nobody tells of that).
 */
export type Look = (names: readonly string[]) => Promise<{ free: readonly string[]; again: number }>;

/** Pauses of the safety net: `vouched` where the end of a session frees a name. */
export function pauseOf(vouched: boolean): number {
  return vouched ? VOUCHED : SAFETY;
}

/**
 * Hears of releases on one shared connection. A waiter is announced by a shared advisory lock on its name's key, so
 * that only releases of names that are waited for notify; an idle LISTEN holds no snapshot and blocks nothing.
 */
export class Watching {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #look: Look;
  readonly #announce: string;
  readonly #awaited = new Map<string, Awaited>();
  readonly #underway = new Set<Promise<unknown>>();
  #session: Promise<Session> | undefined;
  #reconnect = RECONNECT_FIRST;
  #timer: Timer | undefined;
  #linger: Timer | undefined;
  #resumption: Timer | undefined;
  #closed = false;

  constructor(source: Source, timeout: number, namespace: string, look: Look) {
    this.#source = source;
    this.#timeout = timeout;
    this.#look = look;
    const key = keyOf(`wait:${namespace}`, "$1::text");
    this.#announce =
      `SELECT key::text, pg_try_advisory_lock_shared(key)::text AS announced FROM (SELECT ${key} AS key) AS k`;
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  async add(name: string, wake: () => void): Promise<Disposable> {
    let awaited = this.#awaited.get(name);
    if (awaited === undefined) this.#awaited.set(name, awaited = { name, wakes: new Set() });
    awaited.wakes.add(wake);
    this.#linger?.stop();
    if (this.#closed) return { [Symbol.dispose]: () => this.#remove(awaited!, wake) };
    this.#timer ??= this.#startTimer(pauseOf(true));
    const entry = awaited;
    await this.#track(this.#announced(entry)); // without it the safety net has to do until the connection is there again
    return { [Symbol.dispose]: () => this.#remove(entry, wake) };
  }

  async #announced(entry: Awaited): Promise<void> {
    const session = await this.#connect();
    if (entry.key === undefined) await this.#tell(session, entry);
  }

  /** What is under way when everything is closed is waited for; what becomes of it is of no interest. */
  async #track(work: Promise<unknown> | undefined): Promise<void> {
    const quiet = Promise.allSettled([work]);
    this.#underway.add(quiet);
    await quiet;
    this.#underway.delete(quiet);
  }

  /** Wakes everybody: what they wait for cannot come any more, and their next try says why. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.stop();
    this.#resumption?.stop();
    this.#linger?.stop();
    this.#wakeAll();
    const session = this.#session;
    this.#session = undefined;
    await session?.then((open) => open.close(), () => {});
    await Promise.all(this.#underway);
  }

  #remove(entry: Awaited, wake: () => void): void {
    entry.wakes.delete(wake);
    if (entry.wakes.size > 0 || this.#awaited.get(entry.name) !== entry) return;
    this.#awaited.delete(entry.name);
    if (entry.key !== undefined) {
      this.#track(this.#session?.then((session) => session.send(UNLOCK, [entry.key!]))); // else it ends with the session
    }
    if (this.#awaited.size > 0 || this.#closed) return;
    this.#timer?.stop();
    this.#timer = undefined;
    this.#linger = startTimer(LINGER, () => this.#retire(), false);
  }

  /** Nobody waits any more: the connection goes. */
  #retire(): void {
    const session = this.#session;
    if (this.#awaited.size > 0 || session === undefined) return;
    this.#session = undefined;
    session.then((open) => open.close()).catch(() => {}); // one that cannot be closed is gone already
  }

  /** The shared connection, opened once and again after it ended. */
  #connect(): Promise<Session> {
    if (this.#session) return this.#session;
    const opening = this.#session = this.#open();
    opening.then((session) => session.onEnd(() => this.#lost(opening)), () => this.#lost(opening));
    return opening;
  }

  async #open(): Promise<Session> {
    const session = await Session.open(this.#source, this.#timeout, (channel, key) => this.#heard(channel, key));
    await session.send(`LISTEN ${CHANNEL}`, [], false);
    return session;
  }

  /** Without the connection the safety net goes on; announcements are made again on the next one. */
  #lost(opening: Promise<Session>): void {
    if (this.#session !== opening) return;
    this.#session = undefined;
    for (const entry of this.#awaited.values()) entry.key = undefined;
    if (this.#closed || this.#awaited.size === 0) return;
    this.#resumption?.stop();
    this.#resumption = startTimer(this.#reconnect, () => this.#resume(), false);
    this.#reconnect = Math.min(this.#reconnect * 2, RECONNECT_LAST);
    this.#wakeAll();
  }

  async #resume(): Promise<void> {
    if (this.#closed || this.#awaited.size === 0) return;
    try {
      const session = await this.#connect();
      this.#reconnect = RECONNECT_FIRST;
      for (const entry of this.#awaited.values()) if (entry.key === undefined) await this.#tell(session, entry);
      this.#wakeAll(); // for what was told meanwhile
    } catch {
      // Lost again: the next try is under way.
    }
  }

  /** Announces a waiter. A release that is just being committed keeps the key for itself until it is done. */
  async #tell(session: Session, entry: Awaited): Promise<void> {
    for (let tries = 0; tries < 50; tries++) {
      const [row] = await session.send(this.#announce, [entry.name]);
      if (row.announced !== "true") continue;
      entry.key = row.key!;
      if (this.#awaited.get(entry.name) !== entry) this.#withdraw(session, entry);
      return;
    }
  }

  /** The waiter has left while it was announced. */
  #withdraw(session: Session, entry: Awaited): void {
    this.#track(session.send(UNLOCK, [entry.key!])); // else it ends with the session
  }

  #heard(channel: string, key: string): void {
    if (channel !== CHANNEL) return;
    for (const entry of this.#awaited.values()) {
      if (entry.key === key) { for (const wake of [...entry.wakes]) wake(); }
    }
  }

  #wakeAll(): void {
    for (const { wakes } of [...this.#awaited.values()]) for (const wake of [...wakes]) wake();
  }

  /** Keeps the process alive: somebody is waiting. */
  #startTimer(pause: number): Timer {
    return startTimer(pause * (0.75 + Math.random() / 2), () => this.#tick(), true);
  }

  async #tick(): Promise<void> {
    let pause = pauseOf(false);
    try {
      const { free, again } = await this.#look([...this.#awaited.keys()]);
      pause = again;
      for (const name of free) for (const wake of [...this.#awaited.get(name)?.wakes ?? []]) wake();
    } catch {
      this.#wakeAll(); // their next try says what is wrong
    }
    this.#timer?.stop(); // of a waiter that came meanwhile
    this.#timer = this.#closed || this.#awaited.size === 0 ? undefined : this.#startTimer(pause);
  }
}
