import { monotonic } from "../util/runtime.ts";

/** A name counts as contended for so long after another process was seen to hold it (ms). */
const CONTENDED_FOR = 1_000;
/** After its own release of a contended name a process lets others go first for so long (ms): waking takes them 1 to 2. */
const COURTESY = 3;

/** What this process remembers of others that want a name as well, so that they get their turn. */
export class FairnessYield {
  #granted: bigint | undefined;
  #rivalAt = -Infinity;
  #releasedAt = -Infinity;

  /** Remembers the token that this process was granted. */
  noteGrant(token: bigint): void {
    this.#granted = token;
  }

  /** Remembers that another process holds the name, if this one was not granted that lock itself. */
  noteHolder(token: bigint): void {
    if (token !== this.#granted) this.#rivalAt = monotonic();
  }

  /** Remembers that this process has released the name. */
  noteRelease(): void {
    if (this.#rivalAt > -Infinity) this.#releasedAt = monotonic();
  }

  /** Until when (ms, monotonic) to let others have a contended name that this process has just released itself. */
  until(): number {
    return monotonic() - this.#rivalAt > CONTENDED_FOR ? -Infinity : this.#releasedAt + COURTESY;
  }
}
