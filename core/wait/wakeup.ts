import type { Backend } from "../backend.ts";
import { Backoff } from "../util/backoff.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Pauses between tries (ms) where a backend cannot notify its clients. */
const POLL = { first: 10, longest: 250, factor: 1.5, jitter: 1 };

/** Ends the pauses of those who wait for one name: by the backend's notifications, or else by polling. */
export class Wakeup {
  #resume: (() => void) | undefined;
  #watch: Disposable | undefined;
  #closed = false;
  readonly #poll = new Backoff(POLL);

  /**
   * Asks the backend to call `wake` when the name may be free. It is also called once the backend listens, for what
   * happened before. A backend that cannot listen is no error: the next try shows a broken server.
   */
  constructor(backend: Backend, name: string, wake: () => void) {
    backend.watch?.(name, wake).then((watch) => {
      if (this.#closed) return watch[Symbol.dispose]();
      this.#watch = watch;
      wake();
    }, () => {});
  }

  /** Ends a pause. */
  notify(): void {
    this.#resume?.();
  }

  /** Pauses until then (ms, monotonic) or a notification; returns whether it was a poll, after which to try again. */
  async wait(until: number): Promise<boolean> {
    const polls = this.#watch === undefined;
    const now = monotonic();
    const end = polls ? Math.min(until, now + this.#poll.next()) : until;
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#resume = resolve;
      if (end < Infinity) timer = startTimer(end - now, resolve, true);
    });
    timer?.stop();
    this.#resume = undefined;
    return polls;
  }

  /** Stops listening. */
  close(): void {
    this.#closed = true;
    this.#watch?.[Symbol.dispose]();
  }
}
