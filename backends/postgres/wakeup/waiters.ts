import { startTimer, type Timer } from "../../../core/util/runtime.ts";
import type { Registration } from "./registration.ts";
import type { Source } from "../connection/driver.ts";
import { type Listener, listenerFor, type Subscription } from "./listener.ts";

/** Pauses between looks while somebody waits (ms): for notifications that were missed, and for sessions that ended. */
const SAFETY = 1_000;
const VOUCHED = 50;
/** Whose turn it was not looks after so long whether the name is free (ms): those whose turn it was may be gone. */
const GIVEN_WAY = 20;

/** What is waited for under one name. */
interface Awaited {
  readonly wakes: Set<() => void>;
  readonly subscription: Subscription;
  /** Looks when others had their turn. */
  timer?: Timer;
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

/** What one backend waits for: told by the listener of this process, and beneath it by a look now and then. */
export class Waiters {
  readonly #look: Look;
  readonly #announcing: Registration;
  readonly #listener: Listener;
  readonly #release: () => Promise<void>;
  readonly #awaited = new Map<string, Awaited>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(source: Source, timeout: number, announcing: Registration, look: Look) {
    this.#look = look;
    this.#announcing = announcing;
    ({ listener: this.#listener, release: this.#release } = listenerFor(source, timeout));
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  async add(name: string, wake: () => void): Promise<Disposable> {
    const present = this.#awaited.get(name);
    const awaited = present ?? this.#await(name);
    awaited.wakes.add(wake);
    if (!this.#closed) {
      this.#timer ??= this.#startTimer(pauseOf(true));
      await this.#listener.add(awaited.subscription); // without it the safety net has to do until the connection is there again
    }
    return { [Symbol.dispose]: () => this.#remove(name, awaited, wake) };
  }

  #await(name: string): Awaited {
    const wakes = new Set<() => void>();
    const wake = () => {
      awaited.timer?.stop();
      for (const each of [...wakes]) each();
    };
    const giveWay = () => {
      awaited.timer?.stop();
      awaited.timer = startTimer(GIVEN_WAY, () => this.#lookAgain(name, awaited), true);
    };
    const awaited: Awaited = { wakes, subscription: { ...this.#announcing, name, wake, giveWay } };
    this.#awaited.set(name, awaited);
    return awaited;
  }

  async #lookAgain(name: string, { subscription }: Awaited): Promise<void> {
    const { free } = await this.#look([name]).catch(() => ({ free: [name] })); // its next try says what is wrong
    if (free.length > 0) subscription.wake();
  }

  #remove(name: string, awaited: Awaited, wake: () => void): void {
    awaited.wakes.delete(wake);
    if (awaited.wakes.size > 0 || this.#awaited.get(name) !== awaited) return;
    this.#awaited.delete(name);
    awaited.timer?.stop();
    this.#listener.remove(awaited.subscription);
    if (this.#awaited.size > 0) return;
    this.#timer?.stop();
    this.#timer = undefined;
  }

  /** Wakes everybody: what they wait for cannot come any more, and their next try says why. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.stop();
    for (const { subscription, timer } of [...this.#awaited.values()]) {
      timer?.stop();
      this.#listener.remove(subscription);
      subscription.wake();
    }
    await this.#release();
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
      for (const name of free) this.#awaited.get(name)?.subscription.wake();
    } catch {
      for (const { subscription } of [...this.#awaited.values()]) subscription.wake(); // their next try says what is wrong
    }
    this.#timer?.stop(); // of a waiter that came meanwhile
    this.#timer = this.#closed || this.#awaited.size === 0 ? undefined : this.#startTimer(pause);
  }
}
