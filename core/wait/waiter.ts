import type { AcquireRequest } from "../backend.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";
import type { Outcome } from "./acquire_in_order.ts";

/** One caller in a line: what is asked for, and until when. */
export class Waiter {
  readonly request: AcquireRequest;
  /** When the wait is over (ms, monotonic); `-Infinity` for a caller who does not wait. */
  readonly deadline: number;
  /** Whether an attempt began after this caller came. */
  asked = false;
  /** When the first question was asked for this caller (ms, monotonic): any later answer may be to that one's effect. */
  firstAskedAt: number | undefined;
  /** Whether a question asked for this caller had no answer: it may have been granted all the same. */
  unheard = false;
  /** Whether this caller has its outcome, or has left. */
  gone = false;
  readonly #resolve: (outcome: Outcome) => void;
  readonly #reject: (reason: unknown) => void;
  #timer: Timer | undefined;
  #stopListening: (() => void) | undefined;

  constructor(
    request: AcquireRequest,
    deadline: number,
    resolve: (outcome: Outcome) => void,
    reject: (reason: unknown) => void,
  ) {
    this.request = request;
    this.deadline = deadline;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** Whether this caller would wait. */
  get waits(): boolean {
    return this.deadline > -Infinity;
  }

  /** Calls `over` when the wait is over, unless the caller has gone by then. */
  limit(over: () => void): void {
    if (this.deadline === Infinity) return;
    const expire = () => {
      const left = this.deadline - monotonic();
      if (left > 0) this.#timer = startTimer(left, expire, true);
      else over();
    };
    this.#timer = startTimer(this.deadline - monotonic(), expire, true);
  }

  /** Calls `action` after so many milliseconds more, unless the caller has gone by then. */
  after(delay: number, action: () => void): void {
    this.#timer = startTimer(delay, action, true);
  }

  /** Calls `action` when the signal aborts, unless the caller has gone by then. */
  listen(signal: AbortSignal, action: () => void): void {
    signal.addEventListener("abort", action, { once: true });
    this.#stopListening = () => signal.removeEventListener("abort", action);
  }

  /** Hands the outcome over. */
  settle(outcome: Outcome): void {
    this.#leave();
    this.#resolve(outcome);
  }

  /** Hands an error over. */
  fail(reason: unknown): void {
    this.#leave();
    this.#reject(reason);
  }

  #leave(): void {
    this.gone = true;
    this.#timer?.stop();
    this.#stopListening?.();
  }
}
