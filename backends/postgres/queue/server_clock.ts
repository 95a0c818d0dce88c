import { driftDuring } from "../../../core/lock/lease.ts";
import { monotonic } from "../../../core/util/runtime.ts";

/** An older answer tells nothing (ms): the server's clock may have been set since. */
const TRUSTED_MS = 5_000;

/** The server's clock, as far as its last answer tells. */
export class ServerClock {
  #askedAt = 0;
  #now: number | undefined;

  /** Notes what time it was (µs) in the answer to a request that was sent at `askedAt` (ms, monotonic), or later. */
  note(askedAt: number, now: string | null | undefined): void {
    if (now == null || askedAt < this.#askedAt) return;
    this.#askedAt = askedAt;
    this.#now = Number(now);
  }

  /**
   * The latest that the server's clock may show by now (µs): it showed the known time after that request was sent, and
   * may have run faster than this process's. `undefined` without a recent answer.
   */
  latest(): number | undefined {
    const age = monotonic() - this.#askedAt;
    if (this.#now === undefined || age > TRUSTED_MS) return undefined;
    return this.#now + Math.ceil((age + driftDuring(age)) * 1e3);
  }
}
