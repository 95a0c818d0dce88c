import { BackendError } from "../../../core/errors.ts";
import { startTimer, type Timer } from "../../../core/util/runtime.ts";
import type { Registration } from "./registration.ts";
import type { Source } from "../connection/driver.ts";
import { CHANNEL } from "../keys.ts";
import type { Session } from "../session/session.ts";
import { openSession } from "../session/open_session.ts";

/** Pauses before the connection is opened again (ms): from the first to the last, doubling. */
const RECONNECT_FIRST = 50;
const RECONNECT_LAST = 2_000;
/** How long the connection stays after the last waiter has left (ms). */
const LINGER = 10_000;

/** Somebody who waits for a name. */
export interface Subscription extends Registration {
  /** What is waited for. */
  readonly name: string;
  /** Called when the name was released and it is this process's turn, and when a release may have been missed. */
  readonly wake: () => void;
  /** Called when the name was released and it is the turn of others. */
  readonly giveWay: () => void;
  /** Under what releases are told, and for whom, once the server knows of the waiter. */
  known?: { readonly key: string; readonly any: string; readonly place: string | null };
}

/**
 * Hears of releases on the one connection of this process to a database, whatever backends there are. A waiter is
 * announced by a shared advisory lock on its name's key, so that only releases of names that are waited for notify; an
 * idle LISTEN holds no snapshot and blocks nothing.
 */
export class Listener {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #subscriptions = new Set<Subscription>();
  readonly #underway = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #session: Promise<Session> | undefined;
  #reconnect = RECONNECT_FIRST;
  #linger: Timer | undefined;
  #resumption: Timer | undefined;

  constructor(source: Source, timeout: number) {
    this.#source = source;
    this.#timeout = timeout;
  }

  /** Listens for somebody until `remove`. Without the connection it goes on trying, and resolves nevertheless. */
  async add(subscription: Subscription): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#subscriptions.add(subscription);
    this.#linger?.stop();
    await this.#track(this.#announced(subscription));
  }

  /** Nobody waits there any more. */
  remove(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    const { known, leave } = subscription;
    if (known) this.#track(this.#session?.then((session) => session.send(leave, [known.key, known.place]))); // else with the session
    if (this.#subscriptions.size > 0 || this.#closing.signal.aborted) return;
    this.#linger = startTimer(LINGER, () => this.#retire(), false);
  }

  /** Ends the connection. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session of PostgreSQL: the backend was disposed of"));
    this.#resumption?.stop();
    this.#linger?.stop();
    const session = this.#session;
    this.#session = undefined;
    await session?.then((open) => open.close(), () => {});
    await Promise.all(this.#underway);
  }

  /** What is under way when everything is closed is waited for; what becomes of it is of no interest. */
  async #track(work: Promise<unknown> | undefined): Promise<void> {
    const quiet = Promise.allSettled([work]);
    this.#underway.add(quiet);
    await quiet;
    this.#underway.delete(quiet);
  }

  async #announced(subscription: Subscription): Promise<void> {
    const session = await this.#connect();
    if (subscription.known === undefined) await this.#tell(session, subscription);
  }

  /** Announces a waiter. A release that is just being committed keeps the key for itself until it is done. */
  async #tell(session: Session, subscription: Subscription): Promise<void> {
    for (let tries = 0; tries < 50; tries++) {
      const [row] = await session.send(subscription.announce, [subscription.name]);
      if (row.announced !== "true") continue;
      const known = { key: row.key!, any: row.any!, place: row.place };
      if (this.#subscriptions.has(subscription) && subscription.known === undefined) subscription.known = known;
      else this.#track(session.send(subscription.leave, [known.key, known.place])); // it has left meanwhile, or was announced twice
      return;
    }
  }

  /** Nobody waits any more: the connection goes. */
  #retire(): void {
    const session = this.#session;
    if (this.#subscriptions.size > 0 || session === undefined) return;
    this.#session = undefined;
    this.#track(session.then((open) => open.close()));
  }

  /** The connection, opened once and again after it ended. */
  #connect(): Promise<Session> {
    if (this.#session) return this.#session;
    const opening = this.#session = this.#open();
    opening.then((session) => session.onEnd(() => this.#lost(opening)), () => this.#lost(opening));
    return opening;
  }

  async #open(): Promise<Session> {
    const onNotify = (channel: string, payload: string) => this.#heard(channel, payload);
    const session = await openSession(this.#source, this.#timeout, { onNotify, signal: this.#closing.signal });
    try {
      await session.send(`LISTEN ${CHANNEL}`, [], false);
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Without the connection the safety net goes on; announcements are made again on the next one. */
  #lost(opening: Promise<Session>): void {
    if (this.#session !== opening) return;
    this.#session = undefined;
    for (const subscription of this.#subscriptions) delete subscription.known;
    if (this.#closing.signal.aborted || this.#subscriptions.size === 0) return;
    this.#resumption?.stop();
    this.#resumption = startTimer(this.#reconnect, () => this.#track(this.#resume()), false);
    this.#reconnect = Math.min(this.#reconnect * 2, RECONNECT_LAST);
    this.#wakeAll();
  }

  async #resume(): Promise<void> {
    if (this.#closing.signal.aborted || this.#subscriptions.size === 0) return;
    const session = await this.#connect(); // lost again: the next try is under way
    this.#reconnect = RECONNECT_FIRST;
    for (const subscription of [...this.#subscriptions]) {
      if (subscription.known === undefined) await this.#tell(session, subscription);
    }
    this.#wakeAll(); // for what was told meanwhile
  }

  #heard(channel: string, payload: string): void {
    if (channel !== CHANNEL) return;
    const [key, ...places] = payload.split(" ");
    for (const { known, wake, giveWay } of [...this.#subscriptions]) {
      if (known?.key !== key && known?.any !== key) continue;
      if (known.place === null || places.length === 0 || places.includes(known.place)) wake();
      else giveWay();
    }
  }

  #wakeAll(): void {
    for (const subscription of [...this.#subscriptions]) subscription.wake();
  }
}

/** The listeners of this process, and how many use each. */
const listeners = new Map<string, { readonly listener: Listener; users: number }>();

/** The listener for a database, shared by all who come from the same source; `release` closes it when nobody is left. */
export function listenerFor(source: Source, timeout: number): { listener: Listener; release: () => Promise<void> } {
  const id = `${timeout} ${source.identity}`;
  let entry = listeners.get(id);
  if (entry === undefined) listeners.set(id, entry = { listener: new Listener(source, timeout), users: 0 });
  const shared = entry;
  shared.users++;
  const release = async () => {
    if (--shared.users > 0) return;
    listeners.delete(id);
    await shared.listener.close();
  };
  return { listener: shared.listener, release };
}
