import { monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/** Pauses between looks at a name (ms): a share of the time since it last changed hands, by place, within these bounds. */
const LOOK_SHORTEST_MS = 1;
const LOOK_LONGEST_MS = 21;
const PAUSE_SHARE = 1 / 16;
/** How much longer the pause may be for each waiter before this one (ms): a hundred look 130 times a second. */
const LOOK_LONGER_MS = 58;
/** A waiter behind others looks again after this share of the time until they are expected to be served. */
const QUEUE_SHARE = 1 / 2;
/** A turn counts as no longer than this (ms): a look that came late took a part of it. */
const LONGEST_TURN_MS = 8;
/** The pause after a look that failed (ms). */
const LOOK_FAILED_MS = 200;
/** Names that are due within this time (ms) of each other are looked at in one statement. */
const BATCH_WINDOW_MS = 1;

/** What a look has found. */
export interface Looked {
  /** Whether the name may be free for the waiter of this process, or was given to it. */
  readonly isDue: boolean;
  /** The waiter's place in the queue: 1 is next. */
  readonly position: number;
}

/** A name with waiters. */
interface Awaited {
  readonly wakes: Set<() => void>;
  /** The waiter's place, and when it last came nearer (ms, monotonic). */
  position: number;
  changedAt: number;
  /** How long each waiter before it has taken (ms). */
  perTurn: number;
  /** When the next look is due (ms, monotonic). */
  dueAt: number;
}

/**
 * Wakes the waiters of this process: one statement for all their names, repeated with short pauses. A release leaves no
 * other trace on these servers than the row itself.
 */
export class Waiters {
  readonly #look: (names: string[]) => Promise<Map<string, Looked>>;
  readonly #awaited = new Map<string, Awaited>();
  #timer: Timer | undefined;
  #looking: Promise<void> | undefined;

  /** @param look Asks the server about names; one that is missing in the answer is free. */
  constructor(look: (names: string[]) => Promise<Map<string, Looked>>) {
    this.#look = look;
  }

  /** Calls `wake` when the name may have become free, or was given to the waiter, until disposal. */
  add(name: string, wake: () => void): Disposable {
    const now = monotonic();
    const fresh = { wakes: new Set<() => void>(), position: 1, changedAt: now, perTurn: LOOK_SHORTEST_MS, dueAt: 0 };
    const awaited = this.#awaited.get(name) ?? fresh;
    this.#awaited.set(name, awaited);
    awaited.wakes.add(wake);
    this.#lookAfter(awaited, LOOK_SHORTEST_MS);
    this.#schedule();
    return {
      [Symbol.dispose]: () => {
        awaited.wakes.delete(wake);
        if (awaited.wakes.size === 0 && this.#awaited.get(name) === awaited) this.#awaited.delete(name);
        if (this.#awaited.size === 0) this.#timer?.stop();
      },
    };
  }

  /** Stops polling and wakes all waiters: their next attempt fails. Resolves when no look is under way. */
  async close(): Promise<void> {
    this.#timer?.stop();
    for (const awaited of [...this.#awaited.values()]) wakeAll(awaited);
    this.#awaited.clear();
    await this.#looking;
  }

  /** @param from When the pause began (ms, monotonic). */
  #lookAfter(awaited: Awaited, pause: number, from: number = monotonic()): void {
    awaited.dueAt = Math.max(from + pause * (0.75 + Math.random() / 2), monotonic() + LOOK_SHORTEST_MS);
  }

  /** Starts the timer for the name that is due first. It keeps the process alive for the waiters. */
  #schedule(): void {
    if (this.#looking || this.#awaited.size === 0) return;
    this.#timer?.stop();
    const dueAt = Math.min(...[...this.#awaited.values()].map(({ dueAt }) => dueAt));
    this.#timer = startTimer(dueAt - monotonic(), () => {
      this.#looking = this.#lookNow().finally(() => {
        this.#looking = undefined;
        this.#schedule();
      });
    }, true);
  }

  async #lookNow(): Promise<void> {
    const lookedAt = monotonic();
    const due = lookedAt + BATCH_WINDOW_MS;
    const names = [...this.#awaited].filter(([, { dueAt }]) => dueAt <= due).map(([name]) => name);
    const looked = names.length === 0 ? undefined : await this.#look(names).catch(() => undefined);
    for (const name of names) this.#note(name, looked, lookedAt);
  }

  /** @param looked `undefined` when the look failed. */
  #note(name: string, looked: Map<string, Looked> | undefined, lookedAt: number): void {
    const awaited = this.#awaited.get(name);
    if (!awaited) return;
    const { isDue, position } = looked?.get(name) ?? { isDue: true, position: 1 };
    const now = monotonic();
    if (isDue || position < awaited.position) {
      awaited.perTurn = (now - awaited.changedAt) / Math.max(awaited.position - position, 1);
      awaited.changedAt = now;
    }
    awaited.position = position;
    const served = (position - 1) * Math.min(awaited.perTurn, LONGEST_TURN_MS) * QUEUE_SHARE;
    const pause = Math.max(served, (now - awaited.changedAt) * PAUSE_SHARE * position, LOOK_SHORTEST_MS);
    this.#lookAfter(
      awaited,
      looked ? Math.min(pause, LOOK_LONGEST_MS + LOOK_LONGER_MS * (position - 1)) : LOOK_FAILED_MS,
      position === 1 ? lookedAt : now, // the head of the queue does not wait for the answer in addition
    );
    if (isDue) wakeAll(awaited); // after a failed look the next attempt reports why
  }
}

function wakeAll({ wakes }: Awaited): void {
  for (const wake of [...wakes]) wake();
}
