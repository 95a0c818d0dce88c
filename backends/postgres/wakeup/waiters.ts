import { startTimer, type Timer } from "../../../core/util/runtime.ts";
import type { Source } from "../connection/driver.ts";
import { type GrantNotice, type Listener, listenerFor, type Subscription } from "./listener.ts";

/** Pauses between polls (ms): notifications may be missed, and no notification tells of a session that ended. */
const POLL_MS = 1_000;
const SESSION_POLL_MS = 50;

/** A poll: the names that may be free by now, and the pause before the next poll (ms). */
export type Look = (names: readonly string[]) => Promise<{ free: readonly string[]; again: number }>;

/** Returns the pause between polls (ms); `session` where the end of a session frees a name. */
export function pauseOf(session: boolean): number {
  return session ? SESSION_POLL_MS : POLL_MS;
}

/** The waiters of one backend: woken by the listener of this process, and by a poll now and then. */
export class Waiters {
  readonly #look: Look;
  readonly #register: string | undefined;
  readonly #listener: Listener;
  readonly #release: () => Promise<void>;
  readonly #awaited = new Map<string, { readonly wakes: Set<() => void>; readonly subscription: Subscription }>();
  #onGrant: ((notice: GrantNotice) => void) | undefined;
  #timer: Timer | undefined;
  #closed = false;

  /** @param register SQL that registers a waiter, where releases notify the registered ones. */
  constructor(source: Source, timeout: number, look: Look, register?: string) {
    this.#look = look;
    this.#register = register;
    ({ listener: this.#listener, release: this.#release } = listenerFor(source, timeout));
  }

  /** Whether the process is connected to the channel of its grants. */
  get isListening(): boolean {
    return this.#listener.isListening;
  }

  /** Calls `listener` for each lock of a table that another client's release has granted, before its waiter is woken. */
  onGrant(namespace: string, listener: (notice: GrantNotice) => void): void {
    this.#onGrant = (notice) => notice.namespace === namespace && listener(notice);
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  async add(name: string, wake: () => void): Promise<Disposable> {
    const awaited = this.#awaited.get(name) ?? this.#await(name);
    awaited.wakes.add(wake);
    if (!this.#closed) {
      this.#timer ??= this.#startTimer(pauseOf(true));
      await this.#listener.add(awaited.subscription);
    }
    return {
      [Symbol.dispose]: () => {
        awaited.wakes.delete(wake);
        if (awaited.wakes.size === 0 && this.#awaited.get(name) === awaited) this.#remove(name, awaited.subscription);
      },
    };
  }

  #await(name: string) {
    const wakes = new Set<() => void>();
    const wake = () => [...wakes].forEach((each) => each());
    const onGrant = (notice: GrantNotice) => {
      if (notice.name !== name) return;
      this.#onGrant?.(notice);
      wake();
    };
    const how = this.#register === undefined ? { onGrant } : { register: this.#register };
    const awaited = { wakes, subscription: { name, wake, ...how } };
    this.#awaited.set(name, awaited);
    return awaited;
  }

  #remove(name: string, subscription: Subscription): void {
    this.#awaited.delete(name);
    this.#listener.remove(subscription);
    if (this.#awaited.size > 0) return;
    this.#timer?.stop();
    this.#timer = undefined;
  }

  /** Wakes every waiter: its next attempt fails and says why. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.stop();
    for (const { subscription } of [...this.#awaited.values()]) {
      this.#listener.remove(subscription);
      subscription.wake();
    }
    await this.#release();
  }

  /** Keeps the process alive for its waiters. */
  #startTimer(pause: number): Timer {
    return startTimer(pause * (0.75 + Math.random() / 2), () => this.#poll(), true);
  }

  async #poll(): Promise<void> {
    const names = [...this.#awaited.keys()];
    // after an error all are woken: their next attempts say what is wrong
    const { free, again } = await this.#look(names).catch(() => ({ free: names, again: POLL_MS }));
    for (const name of free) this.#awaited.get(name)?.subscription.wake();
    this.#timer?.stop(); // of a waiter that came meanwhile
    this.#timer = this.#closed || this.#awaited.size === 0 ? undefined : this.#startTimer(again);
  }
}
