import type { HeldLock } from "./held_lock.ts";

/** How many locks may be added before those are dropped from the list that have expired. */
const SWEPT_EVERY = 1_024;

/**
 * The locks that are held through one backend, for its disposal. A chain through the locks themselves: a set that is
 * added to and deleted from all the time costs a crowd more than all else that is done for a lock here.
 */
export class HeldLocks implements Iterable<HeldLock> {
  #first: HeldLock | undefined;
  #size = 0;
  #limit = SWEPT_EVERY;

  /** Adds a lock. */
  add(holding: HeldLock): void {
    holding.after = this.#first;
    if (this.#first) this.#first.before = holding;
    this.#first = holding;
    if (++this.#size > this.#limit) this.#sweep();
  }

  /** Takes a lock out; one that is not in it changes nothing. */
  remove(holding: HeldLock): void {
    const { before, after } = holding;
    if (before === undefined && this.#first !== holding) return;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    holding.before = holding.after = undefined;
    this.#size--;
  }

  /** The locks, the last first. */
  *[Symbol.iterator](): Iterator<HeldLock> {
    for (let holding = this.#first; holding !== undefined;) {
      const { after } = holding;
      yield holding;
      holding = after;
    }
  }

  /** A handle that was dropped is never released: its lock leaves the list once it has expired. */
  #sweep(): void {
    for (const holding of this) if (!holding.held) this.remove(holding);
    this.#limit = 2 * this.#size + SWEPT_EVERY;
  }
}
