import type { OwnedLock } from "../backend.ts";
import { isRetryable } from "../util/retry.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Pauses between tries (ms): after an error, and after an answer that the acquisition is not there, each up to a limit. */
const RETRY_FIRST_MS = 100;
const RETRY_LONGEST_MS = 5_000;
const LOOK_FIRST_MS = 500;
/** How long an acquisition may still take effect after its request was given up (ms): a commit that waits for a replica. */
const LATE_EFFECT_MS = 60_000;
/** How long an answer is tried for (ms), for locks that last longer or never expire. */
const TRIED_FOR_MS = 600_000;
/** How many acquisitions are followed at a time; beyond that each is released once, and expires if that fails. */
const MOST = 1_000;

/** An acquisition that no caller was told of, on its way out. */
interface Unwanted {
  readonly claim: OwnedLock;
  /** Whether its request may take effect after a release that found nothing. */
  readonly unheard: boolean;
  readonly since: number;
  readonly until: number;
  tries: number;
  asking: boolean;
  timer?: Timer;
}

/**
 * Releases what may have been granted to callers who were told something else. A release is repeated until it is
 * answered, and after an answer that there is nothing as long as the request may still take effect; at most for as long
 * as the lock lasts.
 */
export class Undo {
  readonly #release: (claim: OwnedLock) => Promise<boolean>;
  readonly #freed: (name: string) => void;
  readonly #unwanted = new Set<Unwanted>();
  #settled: (() => void) | undefined;

  /** @param freed Called when a name has become free by it. */
  constructor(release: (claim: OwnedLock) => Promise<boolean>, freed: (name: string) => void) {
    this.#release = release;
    this.#freed = freed;
  }

  /**
   * Releases an acquisition, however long that takes.
   *
   * @param duration Microseconds that it lasts at most; `null` when it does not expire.
   * @param unheard Whether what came of its request is not known.
   */
  undo({ name, owner }: OwnedLock, duration: number | null, unheard: boolean): void {
    const since = monotonic();
    const until = since + Math.min(duration === null ? Infinity : duration / 1e3, TRIED_FOR_MS);
    const unwanted: Unwanted = { claim: { name, owner }, unheard, since, until, tries: 0, asking: false };
    if (this.#unwanted.size >= MOST) unwanted.tries = Infinity;
    this.#unwanted.add(unwanted);
    this.#try(unwanted);
  }

  /**
   * Tries what is left at once, and resolves when all of it is answered. Nothing takes effect any more that has not by
   * then: its connections are about to be closed.
   */
  settle(): Promise<void> {
    const settled = new Promise<void>((resolve) => this.#settled = resolve);
    for (const unwanted of this.#unwanted) if (!unwanted.asking) this.#try(unwanted);
    this.#check();
    return settled;
  }

  /** Gives up on what is left, and answers how much that is. */
  stop(): number {
    const left = this.#unwanted.size;
    for (const unwanted of this.#unwanted) this.#forget(unwanted);
    return left;
  }

  async #try(unwanted: Unwanted): Promise<void> {
    unwanted.timer?.stop();
    unwanted.asking = true;
    let again: number | undefined;
    try {
      const released = await this.#release(unwanted.claim);
      if (released) this.#freed(unwanted.claim.name);
      else if (unwanted.unheard && !this.#settled && monotonic() - unwanted.since < LATE_EFFECT_MS) {
        again = LOOK_FIRST_MS * 2 ** unwanted.tries;
      }
    } catch (error) {
      if (isRetryable(error)) again = Math.min(RETRY_FIRST_MS * 2 ** unwanted.tries, RETRY_LONGEST_MS);
    }
    unwanted.asking = false;
    unwanted.tries++;
    if (!this.#unwanted.has(unwanted)) return; // given up meanwhile
    if (again === undefined || unwanted.tries === Infinity || monotonic() + again > unwanted.until) {
      this.#forget(unwanted);
    } else {
      const pause = this.#settled ? Math.min(again, RETRY_FIRST_MS) : again;
      unwanted.timer = startTimer(pause, () => this.#try(unwanted), this.#settled !== undefined);
    }
  }

  #forget(unwanted: Unwanted): void {
    unwanted.timer?.stop();
    this.#unwanted.delete(unwanted);
    this.#check();
  }

  #check(): void {
    if (this.#unwanted.size === 0) this.#settled?.();
  }
}
