import type { AcquireAnswer, AcquireRequest } from "../../../core/backend.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { deferBriefly, monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/**
 * Pauses between polls of the database (ms) while a client waits. A poll takes 2 µs and the timer 60 to 400: a waiter
 * uses well under 5 % of a core. Watching the file instead would wake sooner, but Deno's `fs.watch` opens and closes
 * what it sees changing, which drops SQLite's locks of this process on it: measured as double grants and torn shared
 * memory (strace shows the `openat` on the watcher's thread; https://sqlite.org/howtocorrupt.html section 2.2).
 */
const POLL_INTERVAL_MS = { first: 1, longest: 15, factor: 1.25 };
/**
 * How long a waiter polls after brief pauses (ms), from when it is the next: a lock that changes hands quickly is free
 * within 2 ms. With timers alone 8 processes took 1.26 times as long for each hand-off.
 */
const EAGER_MS = 10;

/** A place in the queue of a name that is held. */
export interface Turn {
  /** How many entries of the line are before it. */
  readonly ahead: number;
  /** Milliseconds until the first holder's lease expires. */
  readonly left: number;
}

/** A name that is waited for. */
interface Watched {
  readonly wakes: Set<() => void>;
  /** The waiter that is in the queue. */
  owner: string | undefined;
  /** Its place, as last read. */
  ahead: number;
  /** When (ms, monotonic) the first holder's lease expires: the database is then asked without a commit, too. */
  expiresAt: number;
  /** Until when (ms, monotonic) the pauses between polls are brief. */
  eagerUntil: number;
}

/** Runs `action` after a brief pause, unless it is stopped before. */
function startBriefTimer(action: () => void): Timer {
  let stopped = false;
  deferBriefly(() => {
    if (!stopped) action();
  });
  return { stop: () => stopped = true };
}

/** Wakes waiters when other clients release locks. */
export class Waiters {
  readonly #changed: () => boolean;
  readonly #turn: (name: string, owner: string) => Turn | undefined;
  readonly #watched = new Map<string, Watched>();
  readonly #interval = new Backoff(POLL_INTERVAL_MS);
  #timer: Timer | undefined;

  /**
   * @param changed Whether there was a commit since its last call: on another connection, or by the owner of an external
   * handle.
   * @param turn Returns the place of a waiter; `undefined` if it waits no more, or the name is free.
   */
  constructor(changed: () => boolean, turn: (name: string, owner: string) => Turn | undefined) {
    this.#changed = changed;
    this.#turn = turn;
  }

  /** Calls `wake` when the name may be free, until disposal. Keeps the process alive. */
  add(name: string, wake: () => void): Disposable {
    const unknown = { owner: undefined, ahead: 0, expiresAt: Infinity, eagerUntil: -Infinity };
    const watched = this.#watched.get(name) ?? { wakes: new Set(), ...unknown };
    watched.wakes.add(wake);
    this.#watched.set(name, watched);
    if (this.#timer === undefined) this.#start();
    return {
      [Symbol.dispose]: () => {
        watched.wakes.delete(wake);
        if (watched.wakes.size === 0 && this.#watched.get(name) === watched) this.#watched.delete(name);
        if (this.#watched.size === 0) this.#stop();
      },
    };
  }

  /** Notes which waiter is in the queue of a name: it is woken when that changes. */
  noteAnswer({ name, owner }: AcquireRequest, answer: AcquireAnswer): void {
    const watched = this.#watched.get(name);
    if (watched === undefined) return;
    if (watched.owner !== owner) watched.ahead = Infinity;
    watched.owner = answer.granted || answer.position === undefined ? undefined : owner;
    if (answer.granted || answer.position === undefined) return;
    const { lockedUntil = null, now = 0 } = answer.holder ?? {};
    const left = lockedUntil === null ? Infinity : (lockedUntil - now) / 1e3;
    this.#noteTurn(watched, { ahead: answer.position - 1, left });
  }

  /** Wakes the waiters whose turn has come: nothing else reports what this connection has released by name. */
  wakeFree(): void {
    try {
      this.#wake((name, watched) => this.#isTurn(name, watched));
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
    this.#changed();
    this.#interval.reset();
    this.#schedule();
  }

  #stop(): void {
    this.#timer?.stop();
    this.#timer = undefined;
  }

  /** Polls less often while others are before this process, which needs the processor for them. */
  #schedule(): void {
    const now = monotonic();
    let ahead = POLL_INTERVAL_MS.longest;
    let isEager = false;
    for (const watched of this.#watched.values()) {
      ahead = Math.min(ahead, watched.ahead);
      isEager ||= watched.eagerUntil > now;
    }
    const poll = () => {
      this.#timer = undefined;
      this.#poll();
      if (this.#timer === undefined && this.#watched.size > 0) this.#schedule(); // unless a waiter has come meanwhile
    };
    this.#timer = isEager ? startBriefTimer(poll) : startTimer(Math.max(this.#interval.next(), ahead), poll, true);
  }

  #poll(): void {
    const now = monotonic();
    try {
      const changed = this.#changed();
      if (!changed && ![...this.#watched.values()].some(({ expiresAt }) => expiresAt <= now)) return;
      if (changed) this.#interval.reset();
    } catch {
      return this.#wakeAll(); // their next attempt reports the error
    }
    this.wakeFree();
  }

  #isTurn(name: string, watched: Watched): boolean {
    const turn = watched.owner === undefined ? undefined : this.#turn(name, watched.owner);
    if (turn) this.#noteTurn(watched, turn);
    else Object.assign(watched, { expiresAt: Infinity, eagerUntil: -Infinity });
    return turn === undefined;
  }

  #noteTurn(watched: Watched, { ahead, left }: Turn): void {
    const isNext = ahead === 0 && watched.ahead > 0;
    watched.ahead = ahead;
    watched.expiresAt = monotonic() + left;
    if (!isNext) return;
    watched.eagerUntil = monotonic() + EAGER_MS;
    if (this.#timer === undefined) return;
    this.#timer.stop();
    this.#schedule();
  }

  #wakeAll(): void {
    this.#wake(() => true);
  }

  #wake(chosen: (name: string, watched: Watched) => boolean): void {
    for (const [name, watched] of [...this.#watched]) {
      if (chosen(name, watched)) { for (const wake of [...watched.wakes]) wake(); }
    }
  }
}
