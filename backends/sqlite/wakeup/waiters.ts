import { startTimer, type Timer } from "../../../core/util/runtime.ts";

/**
 * Pauses between looks at the database (ms) while somebody waits: from the first to the last, growing by a quarter.
 * A look costs 2 µs and the timer 60 to 400: a waiter stays well under 5 % of a core. Watching the file instead would
 * wake sooner, but Deno's `fs.watch` opens and closes what it sees changing, which drops SQLite's locks of this process
 * on it: measured as double grants and torn shared memory (strace shows the `openat` on the watcher's thread;
 * https://sqlite.org/howtocorrupt.html section 2.2).
 */
const LOOK_FIRST = 1;
const LOOK_LAST = 15;

/** What is asked of the database on each look. */
export interface Looks {
  /** Whether there was a commit since the last look: on another connection, or by another user of a lent handle. */
  changed(): boolean;
  /** Whether nobody holds the name. */
  isFree(name: string): boolean;
}

/** Notices commits of other clients while a client waits. */
export class Watching {
  readonly #looks: Looks;
  readonly #waiters = new Map<string, Set<() => void>>();
  #timer: Timer | undefined;
  #pause = LOOK_FIRST;

  constructor(looks: Looks) {
    this.#looks = looks;
  }

  /** Calls `wake` when the name may have become free, until disposal. Keeps the process alive: somebody is waiting. */
  add(name: string, wake: () => void): Disposable {
    const waiters = this.#waiters.get(name) ?? new Set();
    this.#waiters.set(name, waiters.add(wake));
    if (this.#timer === undefined) this.#start();
    return {
      [Symbol.dispose]: () => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.#waiters.get(name) === waiters) this.#waiters.delete(name);
        if (this.#waiters.size === 0) this.#stop();
      },
    };
  }

  /** Looks now: this very connection may have freed names, of which nothing else tells. */
  check(): void {
    if (this.#waiters.size > 0) this.#wakeFree();
  }

  /** Wakes everybody: what they wait for cannot come any more, and their next try says why. */
  close(): void {
    this.#stop();
    this.#wake(() => true);
  }

  #start(): void {
    this.#looks.changed();
    this.#pause = LOOK_FIRST;
    this.#tick();
  }

  #stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }

  #tick(): void {
    this.#timer = startTimer(this.#pause, () => {
      this.#pause = Math.min(this.#pause * 1.25, LOOK_LAST);
      this.#tick();
      this.#look();
    }, true);
  }

  #look(): void {
    try {
      if (!this.#looks.changed()) return;
      this.#pause = LOOK_FIRST;
    } catch {
      return this.#wake(() => true); // their next try says what is wrong
    }
    this.#wakeFree();
  }

  #wakeFree(): void {
    try {
      this.#wake((name) => this.#looks.isFree(name));
    } catch {
      this.#wake(() => true); // their next try says what is wrong
    }
  }

  #wake(chosen: (name: string) => boolean): void {
    for (const [name, waiters] of [...this.#waiters]) {
      if (chosen(name)) { for (const wake of [...waiters]) wake(); }
    }
  }
}
