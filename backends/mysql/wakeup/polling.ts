import { monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/** Pauses between looks at a name (ms): from the first to the longest, growing by half, with jitter. */
const LOOK_FIRST_MS = 2;
const LOOK_LONGEST_MS = 25;
/** The pause after a look that failed (ms). */
const LOOK_FAILED_MS = 200;
/** Names that are due within this time (ms) of each other are looked at in one statement. */
const BATCH_WINDOW_MS = 1;

/** A name with waiters. */
interface Awaited {
  readonly wakes: Set<() => void>;
  /** The pause before the next look (ms), and when that is due on the monotonic clock (ms). */
  pause: number;
  dueAt: number;
}

/**
 * Wakes the waiters of this process: one statement for all their names, repeated with short pauses. A release leaves no
 * other trace on these servers than the row itself.
 */
export class Polling {
  readonly #whichHeld: (names: string[]) => Promise<Set<string>>;
  readonly #awaited = new Map<string, Awaited>();
  #timer: Timer | undefined;
  #looking = false;

  /** @param whichHeld Asks the server which of the names are held. */
  constructor(whichHeld: (names: string[]) => Promise<Set<string>>) {
    this.#whichHeld = whichHeld;
  }

  /** Calls `wake` when the name may have become free, until disposal. */
  add(name: string, wake: () => void): Disposable {
    const awaited = this.#awaited.get(name) ?? { wakes: new Set(), pause: LOOK_FIRST_MS, dueAt: 0 };
    this.#awaited.set(name, awaited);
    awaited.wakes.add(wake);
    this.#lookAfter(awaited, LOOK_FIRST_MS);
    this.#schedule();
    return {
      [Symbol.dispose]: () => {
        awaited.wakes.delete(wake);
        if (awaited.wakes.size === 0 && this.#awaited.get(name) === awaited) this.#awaited.delete(name);
        if (this.#awaited.size === 0) this.#timer?.stop();
      },
    };
  }

  /** Stops polling and wakes all waiters: their next attempt fails. */
  close(): void {
    this.#timer?.stop();
    for (const awaited of [...this.#awaited.values()]) wakeAll(awaited);
    this.#awaited.clear();
  }

  #lookAfter(awaited: Awaited, pause: number): void {
    awaited.pause = pause;
    awaited.dueAt = monotonic() + pause * (0.75 + Math.random() / 2);
  }

  /** Starts the timer for the name that is due first. It keeps the process alive for the waiters. */
  #schedule(): void {
    if (this.#looking || this.#awaited.size === 0) return;
    this.#timer?.stop();
    const dueAt = Math.min(...[...this.#awaited.values()].map(({ dueAt }) => dueAt));
    this.#timer = startTimer(dueAt - monotonic(), () => this.#look(), true);
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const now = monotonic() + BATCH_WINDOW_MS;
    const names = [...this.#awaited].filter(([, { dueAt }]) => dueAt <= now).map(([name]) => name);
    const held = names.length === 0 ? undefined : await this.#whichHeld(names).catch(() => undefined);
    for (const name of names) this.#note(name, held?.has(name));
    this.#looking = false;
    this.#schedule();
  }

  /** @param held `undefined` when the look failed. */
  #note(name: string, held: boolean | undefined): void {
    const awaited = this.#awaited.get(name);
    if (!awaited) return;
    if (held) return this.#lookAfter(awaited, Math.min(awaited.pause * 1.5, LOOK_LONGEST_MS));
    this.#lookAfter(awaited, held === undefined ? LOOK_FAILED_MS : LOOK_FIRST_MS);
    wakeAll(awaited); // after a failed look the next attempt reports why
  }
}

function wakeAll({ wakes }: Awaited): void {
  for (const wake of [...wakes]) wake();
}
