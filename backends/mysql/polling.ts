import { startTimer, type Timer } from "../../core/runtime.ts";

/** Pauses between looks while somebody waits (ms): from the first to the last, growing by half, with jitter. */
const LOOK_FIRST = 2;
const LOOK_LAST = 25;
/** The pause after a look that failed (ms). */
const LOOK_FAILED = 200;

/**
 * Wakes those who wait for a name: one question to the server for all names that are waited for in this process,
 * asked again and again with short pauses. A release leaves no other trace on these servers than the row itself.
 */
export class Polling {
  readonly #whichHeld: (names: string[]) => Promise<Set<string>>;
  readonly #waiters = new Map<string, Set<() => void>>();
  #timer: Timer | undefined;
  #pause = LOOK_FIRST;
  #looking = false;

  /** @param whichHeld Asks the server which of the names are held. */
  constructor(whichHeld: (names: string[]) => Promise<Set<string>>) {
    this.#whichHeld = whichHeld;
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  add(name: string, wake: () => void): Disposable {
    const waiters = this.#waiters.get(name) ?? new Set();
    this.#waiters.set(name, waiters.add(wake));
    this.#lookAfter(LOOK_FIRST);
    return {
      [Symbol.dispose]: () => {
        waiters.delete(wake);
        if (waiters.size === 0 && this.#waiters.get(name) === waiters) this.#waiters.delete(name);
        if (this.#waiters.size === 0) this.#timer?.stop();
      },
    };
  }

  /** Wakes everybody: what they wait for cannot come any more, and their next try says why. */
  close(): void {
    this.#timer?.stop();
    this.#wake(() => true);
    this.#waiters.clear();
  }

  /** Looks after so many milliseconds. Keeps the process alive: somebody is waiting. */
  #lookAfter(pause: number): void {
    if (this.#looking) return;
    this.#timer?.stop();
    this.#pause = pause;
    this.#timer = startTimer(pause * (0.75 + Math.random() / 2), () => this.#look(), true);
  }

  async #look(): Promise<void> {
    this.#looking = true;
    let next = Math.min(this.#pause * 1.5, LOOK_LAST);
    try {
      const held = await this.#whichHeld([...this.#waiters.keys()]);
      if (this.#wake((name) => !held.has(name))) next = LOOK_FIRST;
    } catch {
      this.#wake(() => true); // their next try says why
      next = LOOK_FAILED;
    }
    this.#looking = false;
    if (this.#waiters.size > 0) this.#lookAfter(next);
  }

  #wake(which: (name: string) => boolean): boolean {
    let woken = false;
    for (const [name, waiters] of [...this.#waiters]) {
      if (!which(name)) continue;
      woken = true;
      for (const wake of [...waiters]) wake();
    }
    return woken;
  }
}
