import type { AcquireRequest } from "../backend.ts";
import type { Outcome } from "../grant.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** A waiter in the database's queue repeats its request at this share of its window: two may be lost. */
const REPEAT_SHARE = 1 / 3;
/** Behind a holder that admits others, a waiter asks after this time (ms) for each one before it if that has died. */
const CHECK_INTERVAL_MS = 400;
/** The window (µs) of a waiter that blocks others whom the holder admits, as a writer blocks readers. */
const BLOCKING_WINDOW_US = 1.2e6;

/** A caller that wants a lock. */
export class Waiter {
  request: AcquireRequest;
  /** When its wait ends (ms, monotonic); `-Infinity` for a caller that does not wait. */
  readonly deadline: number;
  /** Whether it waits. */
  readonly waits: boolean;
  /** Whether an attempt began after it came: the answer is valid for it, too. */
  asked = false;
  /** When its own request was first sent (ms, monotonic): any later answer may be about the effect of that one. */
  firstAskedAt: number | undefined;
  /** Whether its request was sent without an answer: the lock may have been granted all the same. */
  unanswered = false;
  /** Whether it is in the database's queue. */
  queued = false;
  /** Whether its place there is kept, and it is woken when it is granted the lock. */
  kept = false;
  /** Whether the name was held, or others of this process waited for it. */
  contended = false;
  /** Whether it has left the queue. */
  gone = false;
  /** The release of what it may have been granted, or of its place in the database's queue. */
  undone: Promise<void> | undefined;
  /** Whether an answer has said that it has to wait. */
  pending = false;
  /** Tells its caller the outcome, or an error. */
  readonly settle: (outcome: Outcome) => void;
  readonly fail: (reason: unknown) => void;
  readonly #window: number | undefined;
  #timer: Timer | undefined;
  readonly #onPending: (() => void) | undefined;
  #stopListening: (() => void) | undefined;

  constructor(
    request: AcquireRequest,
    deadline: number,
    resolve: (outcome: Outcome) => void,
    reject: (reason: unknown) => void,
    onPending?: () => void,
  ) {
    this.request = request;
    this.deadline = deadline;
    this.waits = deadline > -Infinity;
    this.#window = request.window;
    this.#onPending = onPending;
    this.settle = resolve;
    this.fail = reject;
  }

  /** Calls `action` at the deadline, unless the waiter is gone by then. */
  onDeadline(action: () => void): void {
    if (!Number.isFinite(this.deadline)) return;
    const expire = () => {
      if (monotonic() < this.deadline) this.onDeadline(action); // longer than a timer can run
      else action();
    };
    this.#timer = startTimer(this.deadline - monotonic(), expire, true);
  }

  /** Calls `action` after `delay` (ms) instead, unless the waiter is gone by then. */
  after(delay: number, action: () => void): void {
    this.#timer?.stop();
    this.#timer = startTimer(delay, action, true);
  }

  /** Calls `action` when the signal aborts, unless the waiter is gone by then. */
  onAbort(signal: AbortSignal, action: () => void): void {
    signal.addEventListener("abort", action, { once: true });
    this.#stopListening = () => signal.removeEventListener("abort", action);
  }

  /**
   * Returns after how many ms it repeats its request at this place in the database's queue, behind a holder with this
   * limit: at once if its window changes, because the database still has the old one.
   */
  repeatAfter(limit: number, position: number): number {
    const window = limit > this.request.limit ? BLOCKING_WINDOW_US : this.#window!;
    if (window !== this.request.window) {
      this.request = { ...this.request, window };
      return 0;
    }
    const repeat = this.kept ? Infinity : window / 1e3 * REPEAT_SHARE;
    return limit > 1 && position > 1 ? Math.min(repeat, CHECK_INTERVAL_MS * (position - 1)) : repeat;
  }

  /** Notes that it has to wait. */
  notePending(): void {
    if (!this.pending) this.#onPending?.();
    this.pending = true;
  }

  /** Ends its timer, and no longer listens to its signal. */
  leave(): void {
    this.gone = true;
    this.#timer?.stop();
    this.#stopListening?.();
  }
}
