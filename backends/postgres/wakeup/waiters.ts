import { monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";
import type { Source } from "../connection/driver.ts";
import { type Listener, listenerFor, type Notice, type Subscription } from "./listener.ts";

/** Pauses between polls (ms): notifications may be missed, and no notification tells of a session that ended. */
const POLL_MS = 1_000;
const SESSION_POLL_MS = 50;
/** By how much a pause is shorter at random, so that processes which began together do not poll together. */
const JITTER = 0.15;
/** The next in a queue polls after each pause, the second after two, and so on, each after so many at most. */
const LONGEST_PAUSE = 60;

/**
 * A poll for the waiters that listen on a channel: the names that may be free by now, and the pause before the next
 * poll (ms).
 */
export type Look = (
  names: readonly string[],
  channel: string | undefined,
) => Promise<{ free: readonly string[]; again: number }>;

/**
 * Returns the pause between polls (ms).
 *
 * @param session Whether the end of a session frees the name.
 * @param position The place in the queue of the name, if there is one: the first watches over the holder.
 */
export function pauseOf(session: boolean, position = 1): number {
  return position > 1 ? POLL_MS * Math.min(position, LONGEST_PAUSE) : session ? SESSION_POLL_MS : POLL_MS;
}

/** The waiters of one backend: woken by the listener of this process, and by a poll now and then. */
export class Waiters {
  readonly #look: Look;
  readonly #register: string | undefined;
  readonly #listener: Listener;
  readonly #release: () => Promise<void>;
  readonly #awaited = new Map<string, { readonly wakes: Set<() => void>; readonly subscription: Subscription }>();
  #onNotice: ((notice: Notice) => void) | undefined;
  #timer: Timer | undefined;
  /** When the timer fires (ms, monotonic). */
  #pollAt = Infinity;
  /** The shortest pause that was asked for since the last poll (ms). */
  #within = Infinity;
  #closed = false;

  /** @param register SQL that registers a waiter, where releases notify the registered ones. */
  constructor(source: Source, timeout: number, look: Look, register?: string) {
    this.#look = look;
    this.#register = register;
    ({ listener: this.#listener, release: this.#release } = listenerFor(source, timeout));
  }

  /** The channel on which this process hears of its place in the queue of an awaited name, while it listens. */
  channelFor(name: string): string | undefined {
    return this.#awaited.has(name) ? this.#listener.channel : undefined;
  }

  /** Calls `listener` with what waiters for a table's locks are told, before they are woken. */
  onNotice(namespace: string, listener: (notice: Notice) => void): void {
    this.#onNotice = (notice) => notice.namespace === namespace && listener(notice);
  }

  /** Polls after `pause` (ms), or earlier. */
  pollWithin(pause: number): void {
    this.#within = Math.min(this.#within, pause);
    if (this.#timer && monotonic() + pause < this.#pollAt) this.#startTimer(pause);
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  async add(name: string, wake: () => void): Promise<Disposable> {
    const awaited = this.#awaited.get(name) ?? this.#await(name);
    awaited.wakes.add(wake);
    if (!this.#closed) {
      if (this.#timer) this.pollWithin(pauseOf(true)); // the others may be far behind in their queues
      else this.#startTimer(pauseOf(true));
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
    const onNotice = (notice: Notice) => {
      if (notice.name !== name) return;
      this.#onNotice?.(notice);
      if (notice.token !== null) wake();
    };
    const how = this.#register === undefined ? { onNotice } : { register: this.#register };
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

  /** Polls after `pause` (ms), or a little earlier. Keeps the process alive for its waiters. */
  #startTimer(pause: number): void {
    this.#timer?.stop();
    const wait = pause * (1 - Math.random() * JITTER);
    this.#pollAt = monotonic() + wait;
    this.#timer = startTimer(wait, () => this.#poll(), true);
  }

  async #poll(): Promise<void> {
    const names = [...this.#awaited.keys()];
    this.#within = Infinity;
    // after an error all are woken: their next attempts say what is wrong
    const { free, again } = await this.#look(names, this.#listener.channel).catch(() => ({
      free: names,
      again: POLL_MS,
    }));
    for (const name of free) this.#awaited.get(name)?.subscription.wake();
    this.#timer?.stop(); // of a waiter that came meanwhile
    this.#timer = undefined;
    if (!this.#closed && this.#awaited.size > 0) this.#startTimer(Math.min(again, this.#within));
  }
}
