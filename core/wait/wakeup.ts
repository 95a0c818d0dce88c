import type { Backend } from "../backend.ts";
import { monotonic, sleep, startTimer, type Timer } from "../util/runtime.ts";

/** Pauses between tries where a backend cannot wake anybody (ms): from the first to the last, growing by half. */
const POLL_FIRST = 10;
const POLL_LAST = 250;

/** Wakes those who wait for one name: by the backend's hints, by the clock, and by polling where there are no hints. */
export class Wakeup {
  #ring: (() => void) | undefined;
  #watch: Disposable | undefined;
  #closed = false;
  #poll = POLL_FIRST;

  /**
   * Asks the backend to call `wake`, also once it listens: what happened before is found by one more try. Until then,
   * and where it cannot, there are polls: a hint that cannot be had is no error, and the next try tells of a broken
   * server.
   */
  constructor(backend: Backend, name: string, wake: () => void) {
    backend.watch?.(name, wake).then((watch) => {
      if (this.#closed) return watch[Symbol.dispose]();
      this.#watch = watch;
      wake();
    }, () => {});
  }

  /** Ends a pause at once. */
  ring(): void {
    this.#ring?.();
  }

  /** Waits until then (ms, monotonic), whoever rings. */
  holdBack(until: number): Promise<void> {
    return sleep(until - monotonic());
  }

  /** Waits until then (ms, monotonic), or until it rings; answers whether it was a poll, after which to try again. */
  async pause(until: number): Promise<boolean> {
    const polls = this.#watch === undefined;
    const now = monotonic();
    if (polls) {
      until = Math.min(until, now + this.#poll * (0.5 + Math.random()));
      this.#poll = Math.min(this.#poll * 1.5, POLL_LAST);
    }
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#ring = resolve;
      if (until < Infinity) timer = startTimer(until - now, resolve, true);
    });
    timer?.stop();
    this.#ring = undefined;
    return polls;
  }

  /** Nobody waits any more. */
  close(): void {
    this.#closed = true;
    this.#watch?.[Symbol.dispose]();
  }
}
