import type { Backend } from "../backend.ts";
import { Backoff, type BackoffOptions } from "../util/backoff.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Pauses between tries (ms) where a backend cannot notify its clients. */
const POLL = { first: 10, longest: 250, factor: 1.5, jitter: 1 };

/** Ends the pauses of those who wait for a change of some names: by the backend's notifications, or else by polling. */
export class Wakeup {
  readonly #backend: Backend;
  readonly #wake: () => void;
  readonly #poll: Backoff;
  readonly #watches = new Map<string, { watch?: Disposable }>();
  #resume: (() => void) | undefined;

  /** @param wake Called when a name may be free, and once the backend listens, for what happened before. */
  constructor(backend: Backend, wake: () => void, poll: BackoffOptions = POLL) {
    this.#backend = backend;
    this.#wake = wake;
    this.#poll = new Backoff(poll);
  }

  /**
   * Asks the backend to report changes of these names, and no longer of others. A backend that cannot listen is no error:
   * the next try shows a broken server. Resolves when it reports the changes of all names.
   */
  watch(names: Iterable<string>): Promise<unknown> {
    const wanted = new Set(names);
    for (const [name, { watch }] of this.#watches) {
      if (wanted.delete(name)) continue;
      this.#watches.delete(name);
      watch?.[Symbol.dispose]();
    }
    return Promise.all([...wanted].map((name) => this.#subscribe(name)));
  }

  async #subscribe(name: string): Promise<void> {
    const subscription: { watch?: Disposable } = {};
    this.#watches.set(name, subscription);
    const watch = await this.#backend.watch?.(name, this.#wake).catch(() => undefined);
    if (this.#watches.get(name) !== subscription) return watch?.[Symbol.dispose]();
    subscription.watch = watch;
    if (watch) this.#wake();
  }

  /** Ends a pause. */
  notify(): void {
    this.#resume?.();
  }

  /** Polls after the first pause again. */
  reset(): void {
    this.#poll.reset();
  }

  /**
   * Pauses until then (ms, monotonic) or a notification, or for the pause before the next poll.
   *
   * @param polls Whether to poll; by default while the backend does not listen.
   * @returns Whether it polled, after which to try again.
   */
  async wait(until: number, polls: boolean = !this.#listens()): Promise<boolean> {
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

  #listens(): boolean {
    return [...this.#watches.values()].every(({ watch }) => watch !== undefined);
  }

  /** Stops listening. */
  close(): void {
    this.watch([]);
  }
}
