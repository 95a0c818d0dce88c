import { Backoff } from "../../../core/util/backoff.ts";
import { startTimer, type Timer } from "../../../core/util/runtime.ts";

/**
 * Pauses between polls of the database (ms) while a client waits. A poll takes 2 µs and the timer 60 to 400: a waiter
 * uses well under 5 % of a core. Watching the file instead would wake sooner, but Deno's `fs.watch` opens and closes
 * what it sees changing, which drops SQLite's locks of this process on it: measured as double grants and torn shared
 * memory (strace shows the `openat` on the watcher's thread; https://sqlite.org/howtocorrupt.html section 2.2).
 */
const POLL_INTERVAL_MS = { first: 1, longest: 15, factor: 1.25 };

/** What a poll asks the database. */
export interface Polls {
  /** Whether there was a commit since the last poll: on another connection, or by the owner of an external handle. */
  changed(): boolean;
  /** What differs after each grant of a name, and ends in "free" if its first holder's lease has ended. */
  turn(name: string): string | undefined;
}

/** Wakes waiters when other clients release locks. */
export class Waiters {
  readonly #polls: Polls;
  readonly #waiters = new Map<string, Set<() => void>>();
  /** The last turn of each name that was looked at. */
  readonly #turns = new Map<string, string | undefined>();
  readonly #interval = new Backoff(POLL_INTERVAL_MS);
  #timer: Timer | undefined;

  constructor(polls: Polls) {
    this.#polls = polls;
  }

  /** Calls `wake` when the name may be free, until disposal. Keeps the process alive. */
  add(name: string, wake: () => void): Disposable {
    const waiters = this.#waiters.get(name) ?? new Set();
    this.#waiters.set(name, waiters.add(wake));
    if (this.#timer === undefined) this.#start();
    return {
      [Symbol.dispose]: () => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.#waiters.get(name) === waiters) {
          this.#waiters.delete(name);
          this.#turns.delete(name);
        }
        if (this.#waiters.size === 0) this.#stop();
      },
    };
  }

  /**
   * Wakes the waiters of names that are free or have changed hands: nothing else reports what this connection has
   * released by name.
   */
  wakeFree(): void {
    try {
      this.#wake((name) => this.#hasChanged(name));
    } catch {
      this.#wakeAll();
    }
  }

  /** Wakes all waiters, whose next attempt reports that the backend is closed. */
  close(): void {
    this.#stop();
    this.#wakeAll();
  }

  #start(): void {
    this.#polls.changed();
    this.#interval.reset();
    this.#schedule();
  }

  #stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }

  #schedule(): void {
    this.#timer = startTimer(this.#interval.next(), () => {
      this.#schedule();
      this.#poll();
    }, true);
  }

  #poll(): void {
    try {
      if (!this.#polls.changed()) return;
    } catch {
      return this.#wakeAll(); // their next attempt reports the error
    }
    this.#interval.reset();
    this.wakeFree();
  }

  #hasChanged(name: string): boolean {
    const before = this.#turns.get(name);
    const turn = this.#polls.turn(name);
    this.#turns.set(name, turn);
    return turn === undefined || turn.endsWith("free") || turn !== before;
  }

  #wakeAll(): void {
    this.#wake(() => true);
  }

  #wake(chosen: (name: string) => boolean): void {
    for (const [name, waiters] of [...this.#waiters]) {
      if (chosen(name)) { for (const wake of [...waiters]) wake(); }
    }
  }
}
