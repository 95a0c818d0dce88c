import { defer, startTimer, type Timer } from "../util/runtime.ts";

/** A batch may keep the other verbs' batches waiting for so long (ms); then they go beside it: perhaps it hangs on one row. */
export const PATIENCE = 250;

/**
 * What the batches of one backend travel on, whatever they ask for: one at a time, so that each takes along as many as
 * possible. A commit costs the same for one lock and for hundreds, and two halves of a crowd would pay for two.
 */
export class Road {
  readonly #queue: (() => void)[] = [];
  /** The number of the batch that is under way; 0 for none. */
  #taken = 0;
  #count = 0;
  #turning = false;
  #timer: Timer | undefined;

  /** Has a batch depart once the road is free and all have arrived who have just had their answers. */
  queue(depart: () => void): void {
    this.#queue.push(depart);
    if (this.#taken > 0) this.#timer ??= startTimer(PATIENCE, () => this.free(this.#taken), true);
    else this.#turn();
  }

  /** Takes the road for a batch; the answer is its number. */
  take(): number {
    return this.#taken = ++this.#count;
  }

  /** That batch is over. */
  free(number: number): void {
    if (this.#taken !== number) return;
    this.#taken = 0;
    this.#timer?.stop();
    this.#timer = undefined;
    this.#turn();
  }

  #turn(): void {
    if (this.#turning || this.#queue.length === 0) return;
    this.#turning = true;
    defer(() => {
      this.#turning = false;
      while (this.#taken === 0 && this.#queue.length > 0) this.#queue.shift()!();
    });
  }
}
