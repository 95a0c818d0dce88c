import type { OwnedLock } from "../backend.ts";
import { isBackendError, isRetryable } from "../util/retry.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Pauses between tries (ms), doubling: after an error, and after an answer that the lock is not there. */
const RETRY_FIRST_MS = 100;
const RETRY_LONGEST_MS = 5_000;
const RECHECK_FIRST_MS = 500;
/** How long a request that was given up may still take effect (ms): a commit that waits for a replica. */
const LATE_EFFECT_MS = 60_000;
/** How long a release is tried (ms) for locks that last longer or never expire. */
const TRY_FOR_MS = 600_000;
/** Locks that are followed at a time; each further one is released once, and expires if that fails. */
const LIMIT = 1_000;

/** A lock that is to be released although no caller knows of it. */
interface Unwanted {
  readonly lock: OwnedLock;
  /** When (ms, monotonic) its request can no longer take effect after a release that found nothing. */
  lateUntil: number;
  /** When (ms, monotonic) to give up. */
  until: number;
  tries: number;
  asking: boolean;
  timer?: Timer;
}

/**
 * Releases what was granted, or may have been, to callers who were told something else, and what their releases without
 * an answer may have left. A release is repeated until it is answered; after an answer that the lock is not there, for
 * as long as the request may still take effect; at most for as long as the lock lasts.
 */
export class Undo {
  readonly #release: (lock: OwnedLock) => Promise<boolean>;
  readonly #released: (name: string) => void;
  readonly #unwanted = new Map<OwnedLock, Unwanted>();
  #onFinished: (() => void) | undefined;
  /** Locks that were granted and whose release the database refused during a disposal. */
  readonly #refused: OwnedLock[] = [];
  #stopped = false;

  /** @param released Called when a name has become free. */
  constructor(release: (lock: OwnedLock) => Promise<boolean>, released: (name: string) => void) {
    this.#release = release;
    this.#released = released;
  }

  /**
   * Releases a lock, however long that takes. Resolves after the first try; at once while one of it is under way.
   *
   * @param duration Microseconds that it lasts at most; `null` when it does not expire.
   * @param unanswered Whether its request was not answered.
   */
  add(lock: OwnedLock, duration: number | null, unanswered: boolean): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    const now = monotonic();
    let unwanted = this.#unwanted.get(lock);
    if (unwanted === undefined) {
      const tries = this.#unwanted.size < LIMIT ? 0 : Infinity;
      this.#unwanted.set(lock, unwanted = { lock, lateUntil: 0, until: 0, tries, asking: false });
    } else if (!unwanted.asking) unwanted.tries = 0;
    if (unanswered) unwanted.lateUntil = now + LATE_EFFECT_MS;
    const lasts = Math.min(duration === null ? Infinity : duration / 1e3, TRY_FOR_MS);
    unwanted.until = Math.max(unwanted.until, now + lasts);
    return unwanted.asking ? Promise.resolve() : this.#try(unwanted);
  }

  /**
   * Tries everything that is left at once, and resolves when all of it is answered: `stop` ends that. What has not
   * taken effect by then never will: its connections are about to be closed.
   */
  finish(): Promise<void> {
    const finished = new Promise<void>((resolve) => this.#onFinished = resolve);
    for (const unwanted of this.#unwanted.values()) if (!unwanted.asking) this.#try(unwanted);
    this.#check();
    return finished;
  }

  /** Gives up on what is left and on what is added later, and returns the locks that are left. */
  stop(): OwnedLock[] {
    this.#stopped = true;
    const left = [...this.#refused, ...this.#unwanted.keys()];
    for (const unwanted of this.#unwanted.values()) this.#forget(unwanted);
    return left;
  }

  async #try(unwanted: Unwanted): Promise<void> {
    unwanted.timer?.stop();
    unwanted.asking = true;
    let pause: number | undefined;
    try {
      const released = await this.#release(unwanted.lock);
      if (released) this.#released(unwanted.lock.name);
      else if (monotonic() < unwanted.lateUntil && !this.#onFinished) pause = RECHECK_FIRST_MS * 2 ** unwanted.tries;
    } catch (error) {
      // What is refused now, as on a full disk, may succeed later; a disposal does not wait for that, but for the end of
      // a transaction that the program has open.
      const isOpen = (error as { code?: unknown }).code === "UNSUPPORTED";
      const isPassing = isRetryable(error) || isOpen || (isBackendError(error) && !this.#onFinished);
      if (isPassing) pause = Math.min(RETRY_FIRST_MS * 2 ** unwanted.tries, RETRY_LONGEST_MS);
      else if (this.#onFinished && unwanted.lateUntil === 0) this.#refused.push(unwanted.lock);
    }
    unwanted.asking = false;
    unwanted.tries++;
    if (!this.#unwanted.has(unwanted.lock)) return; // given up meanwhile
    if (pause === undefined || unwanted.tries === Infinity || monotonic() + pause > unwanted.until) {
      return this.#forget(unwanted);
    }
    const delay = this.#onFinished ? Math.min(pause, RETRY_FIRST_MS) : pause;
    unwanted.timer = startTimer(delay, () => this.#try(unwanted), this.#onFinished !== undefined);
  }

  #forget(unwanted: Unwanted): void {
    unwanted.timer?.stop();
    this.#unwanted.delete(unwanted.lock);
    this.#check();
  }

  #check(): void {
    if (this.#unwanted.size === 0) this.#onFinished?.();
  }
}
