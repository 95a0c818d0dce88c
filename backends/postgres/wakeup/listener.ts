import { BackendError } from "../../../core/errors.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { once } from "../../../core/util/once.ts";
import { randomId, startTimer, type Timer } from "../../../core/util/runtime.ts";
import type { Source } from "../connection/driver.ts";
import { listeningKey, literal } from "../keys.ts";
import { openSession, type PostgresSession } from "../session/session.ts";
import { CHANNEL, UNREGISTER } from "./registration.ts";

/** Pauses before the connection is opened again. */
const RECONNECT = { first: 50, longest: 2_000 };
/** How long the connection stays open after the last waiter has left. */
const IDLE_MS = 10_000;
/**
 * So many session timeouts of silence end the connection, which carries no locks: a hundred processes that wait send 3
 * heartbeats a second instead of 20. A network that fails ends it after one.
 */
const SILENCE = 6;
/** How often a registration is tried while a release of the name is being committed; then polling has to do. */
const REGISTRATION_ATTEMPTS = 50;

/** What a waiter is told of its place in a queue. */
export interface Notice {
  /** The namespace of the table. */
  readonly namespace: string;
  readonly name: string;
  /** The owner of the request that waits. */
  readonly owner: string;
  /** The token with which the lock was granted to it; `null` if it is the next, and absent if it had better look. */
  readonly token?: number | null;
  /** When it was granted, by the server's clock (µs). */
  readonly since?: number;
  /** How many wait behind it. */
  readonly waiters?: number;
}

/** A waiter for one name. */
export interface Subscription {
  readonly name: string;
  /** SQL that registers the waiter (`registration.ts`), where releases notify the registered ones. */
  readonly register?: string;
  /** Called with what waiters of this process are told. */
  readonly onNotice?: (notice: Notice) => void;
  /** Called when the name was released, and when a notification may have been missed. */
  readonly wake: () => void;
  /** The keys that the waiter is registered under at the server. */
  keys?: { readonly key: string; readonly any: string };
}

/**
 * Receives the notifications of releases on the one connection of this process to a database, whatever the number of
 * backends. An idle LISTEN holds no snapshot and blocks nothing.
 */
export class Listener {
  readonly #source: Source;
  readonly #timeout: number;
  readonly #subscriptions = new Set<Subscription>();
  readonly #pending = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  readonly #backoff = new Backoff(RECONNECT);
  readonly #session = once(() => this.#open());
  #listening: { readonly session: PostgresSession; readonly channel: string } | undefined;
  #idleTimer: Timer | undefined;
  #reconnectTimer: Timer | undefined;

  constructor(source: Source, timeout: number) {
    this.#source = source;
    this.#timeout = timeout;
  }

  /** The channel for what waiters are told; `undefined` unless it is connected, and stays so for a while. */
  get channel(): string | undefined {
    const isUsed = this.#listening?.session.ended === undefined && this.#subscriptions.size > 0;
    return isUsed ? this.#listening?.channel : undefined;
  }

  /** Wakes a waiter until `remove`. Resolves also when the connection fails; it is then opened again later. */
  async add(subscription: Subscription): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#subscriptions.add(subscription);
    this.#idleTimer?.stop();
    await this.#track(this.#connect().then((session) => this.#register(session, subscription)));
  }

  /** Stops waking a waiter. */
  remove(subscription: Subscription): void {
    if (!this.#subscriptions.delete(subscription)) return;
    if (subscription.keys) {
      this.#track(this.#session.current?.then((session) => this.#unregister(session, subscription.keys!)));
    }
    if (this.#subscriptions.size > 0 || this.#closing.signal.aborted) return;
    this.#idleTimer = startTimer(IDLE_MS, () => {
      if (this.#subscriptions.size === 0) this.#track(this.#closeSession());
    }, false);
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    this.#closing.abort(new BackendError("Cannot open a session of PostgreSQL: the backend was disposed of"));
    this.#reconnectTimer?.stop();
    this.#idleTimer?.stop();
    await this.#closeSession();
    await Promise.all(this.#pending);
  }

  async #closeSession(): Promise<void> {
    const session = this.#session.current;
    this.#listening = undefined;
    this.#session.clear();
    await session?.then((open) => open.close(), () => {});
  }

  /** Lets `close` wait for some work, whose outcome does not matter. */
  async #track(work: Promise<unknown> | undefined): Promise<void> {
    const settled = Promise.allSettled([work]);
    this.#pending.add(settled);
    await settled;
    this.#pending.delete(settled);
  }

  async #register(session: PostgresSession, subscription: Subscription): Promise<void> {
    const { register } = subscription;
    if (register === undefined) return;
    for (let attempt = 0; attempt < REGISTRATION_ATTEMPTS && subscription.keys === undefined; attempt++) {
      const [row] = await session.send(register, [subscription.name]);
      if (row.registered === null) continue; // a release is being committed
      const keys = { key: row.key!, any: row.any_key! };
      // the waiter may have left meanwhile, or was registered twice
      if (!this.#subscriptions.has(subscription) || subscription.keys) return await this.#unregister(session, keys);
      subscription.keys = keys;
    }
  }

  async #unregister(session: PostgresSession, { key, any }: NonNullable<Subscription["keys"]>): Promise<void> {
    await session.send(UNREGISTER, [key, any]);
  }

  /** Returns the connection, which is opened again after it was lost. */
  #connect(): Promise<PostgresSession> {
    const present = this.#session.current;
    const opening = this.#session();
    if (opening !== present) {
      opening.then((session) => session.onEnd(() => this.#lost(opening)), () => this.#lost(undefined));
    }
    return opening;
  }

  async #open(): Promise<PostgresSession> {
    const channel = `${CHANNEL}_${randomId().replaceAll("-", "")}`;
    const onNotify = (to: string, payload: string) => to === CHANNEL ? this.#released(payload) : this.#tell(payload);
    const options = { onNotify, signal: this.#closing.signal, silence: SILENCE * this.#timeout };
    const session = await openSession(this.#source, this.#timeout, options);
    try {
      await session.send(`LISTEN ${CHANNEL}`, [], false);
      await session.send(`LISTEN ${channel}`, [], false);
      await session.send(`SELECT pg_advisory_lock(${listeningKey(literal(channel))})::text`, [], false);
      this.#listening = { session, channel };
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  /** Waiters poll while there is no connection, and register again on the next one. */
  #lost(opening: Promise<PostgresSession> | undefined): void {
    if (this.#session.current !== opening) return;
    this.#session.clear();
    for (const subscription of this.#subscriptions) delete subscription.keys;
    if (this.#closing.signal.aborted || this.#subscriptions.size === 0) return;
    this.#reconnectTimer?.stop();
    this.#reconnectTimer = startTimer(this.#backoff.next(), () => this.#track(this.#reconnect()), false);
    this.#wakeAll();
  }

  async #reconnect(): Promise<void> {
    if (this.#closing.signal.aborted || this.#subscriptions.size === 0) return;
    const session = await this.#connect();
    this.#backoff.reset();
    for (const subscription of [...this.#subscriptions]) await this.#register(session, subscription);
    this.#wakeAll(); // notifications were missed
  }

  #released(key: string): void {
    for (const { keys, wake } of [...this.#subscriptions]) if (keys?.key === key || keys?.any === key) wake();
  }

  #tell(payload: string): void {
    const [namespace, name, owner, token, since, waiters] = JSON.parse(payload);
    for (const { onNotice } of [...this.#subscriptions]) onNotice?.({ namespace, name, owner, token, since, waiters });
  }

  #wakeAll(): void {
    for (const { wake } of [...this.#subscriptions]) wake();
  }
}

/** The listeners of this process, with the number of users of each. */
const listeners = new Map<string, { readonly listener: Listener; users: number }>();

/** Returns the listener for a database, shared by all backends of the same source; the last `release` closes it. */
export function listenerFor(source: Source, timeout: number): { listener: Listener; release: () => Promise<void> } {
  const id = `${timeout} ${source.identity}`;
  const shared = listeners.get(id) ?? { listener: new Listener(source, timeout), users: 0 };
  listeners.set(id, shared);
  shared.users++;
  const release = async () => {
    if (--shared.users > 0) return;
    listeners.delete(id);
    await shared.listener.close();
  };
  return { listener: shared.listener, release };
}
