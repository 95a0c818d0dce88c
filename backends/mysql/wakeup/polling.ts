import { monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/** Pauses between looks while somebody waits (ms): from the first to the last, growing by half, with jitter. */
const LOOK_FIRST = 2;
const LOOK_LAST = 25;
/** The pause while another process looks closely (ms): it could hang. */
const LOOK_SELDOM = 100;
/** The pause before it counts that a name is free while another process looks closely (ms): that one comes first. */
const LOOK_AGAIN = 50;
/** The pause after a look that failed (ms). */
const LOOK_FAILED = 200;
/** Who would be looked at within so many milliseconds is looked at together with the first. */
const TOGETHER = 1;

/** A name that somebody waits for. */
interface Awaited {
  readonly wakes: Set<() => void>;
  /** The pause before the next look (ms), and when that is due on the monotonic clock (ms). */
  pause: number;
  dueAt: number;
  /** Whether somebody else looks closely. */
  seldom: boolean;
  /** Whether it was free at the last look. */
  free: boolean;
}

const UNSEEN = { pause: LOOK_FIRST, dueAt: 0, seldom: false, free: false };

/**
 * Wakes those who wait for a name: one question to the server for all names that are waited for in this process,
 * asked again and again with short pauses. A release leaves no other trace on these servers than the row itself.
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
    const awaited = this.#awaited.get(name) ?? { ...UNSEEN, wakes: new Set() };
    this.#awaited.set(name, awaited);
    awaited.wakes.add(wake);
    this.#lookAfter(awaited, LOOK_FIRST);
    this.#schedule();
    return {
      [Symbol.dispose]: () => {
        awaited.wakes.delete(wake);
        if (awaited.wakes.size === 0 && this.#awaited.get(name) === awaited) this.#awaited.delete(name);
        if (this.#awaited.size === 0) this.#timer?.stop();
      },
    };
  }

  /** Whether somebody waits for the name. */
  isAwaited(name: string): boolean {
    return this.#awaited.has(name);
  }

  /** Looks at a name seldom, since somebody else looks closely, or as often as at others. */
  setSeldom(name: string, seldom: boolean): void {
    const awaited = this.#awaited.get(name);
    if (!awaited || awaited.seldom === seldom) return;
    awaited.seldom = seldom;
    this.#lookAfter(awaited, seldom ? LOOK_SELDOM : LOOK_LAST);
    this.#schedule();
  }

  /** Wakes those who wait for the name. */
  wake(name: string): void {
    for (const wake of [...this.#awaited.get(name)?.wakes ?? []]) wake();
  }

  /** Wakes everybody: what they wait for cannot come any more, and their next try says why. */
  close(): void {
    this.#timer?.stop();
    for (const name of [...this.#awaited.keys()]) this.wake(name);
    this.#awaited.clear();
  }

  #lookAfter(awaited: Awaited, pause: number): void {
    awaited.pause = pause;
    awaited.dueAt = monotonic() + pause * (0.75 + Math.random() / 2);
  }

  /** Looks when the first name is due. Keeps the process alive: somebody is waiting. */
  #schedule(): void {
    if (this.#looking || this.#awaited.size === 0) return;
    this.#timer?.stop();
    const dueAt = Math.min(...[...this.#awaited.values()].map(({ dueAt }) => dueAt));
    this.#timer = startTimer(dueAt - monotonic(), () => this.#look(), true);
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const now = monotonic() + TOGETHER;
    const names = [...this.#awaited].filter(([, { dueAt }]) => dueAt <= now).map(([name]) => name);
    const held = names.length === 0 ? undefined : await this.#whichHeld(names).catch(() => undefined);
    for (const name of names) this.#learn(name, held?.has(name));
    this.#looking = false;
    this.#schedule();
  }

  /** What a look said of a name; `undefined` when it failed. */
  #learn(name: string, held: boolean | undefined): void {
    const awaited = this.#awaited.get(name);
    if (!awaited) return;
    const wasFree = awaited.free;
    awaited.free = held === false;
    if (held) return this.#lookAfter(awaited, Math.min(awaited.pause * 1.5, awaited.seldom ? LOOK_SELDOM : LOOK_LAST));
    if (awaited.seldom && awaited.free && !wasFree) return this.#lookAfter(awaited, LOOK_AGAIN);
    this.#lookAfter(awaited, held === undefined ? LOOK_FAILED : LOOK_FIRST);
    this.wake(name); // when the look failed, their next try says why
  }
}
