import { BackendError } from "../../../core/errors.ts";
import { afterReads, monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";

/** How often those who wait for an answer are looked at (ms): an answer is given up so much later at worst. */
const TICK_MS = 1_000;

/** An answer that somebody waits for. */
interface Awaited {
  readonly until: number;
  readonly expire: () => void;
}

/** The error of an answer that did not come. */
export function lateAnswer(seconds: number): BackendError {
  const error = new BackendError(`Cannot get an answer of PostgreSQL within ${seconds} s`, { retryable: true });
  late.add(error);
  return error;
}

const late = new WeakSet<object>();

/** Whether an answer did not come in time. */
export function isLate(error: unknown): boolean {
  return late.has(error as object);
}

/**
 * Gives up answers that do not come. One timer watches over all statements of a client: one for each cost 12 µs, a
 * twentieth of a lone acquire.
 */
export class QueryTimeouts {
  readonly #seconds: number;
  readonly #awaited = new Set<Awaited>();
  #timer: Timer | undefined;
  #closed = false;

  /** @param seconds How long an answer may take. */
  constructor(seconds: number) {
    this.#seconds = seconds;
  }

  /** Rejects when no answer came in time; `late` is called then. */
  over<T>(answer: PromiseLike<T>, late: () => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const awaited: Awaited = {
        until: monotonic() + this.#seconds * 1e3,
        expire: () => {
          reject(lateAnswer(this.#seconds));
          late();
        },
      };
      this.#awaited.add(awaited);
      if (!this.#closed) this.#timer ??= startTimer(TICK_MS, () => this.#tick(), false);
      answer.then(
        (value) => (this.#awaited.delete(awaited), resolve(value)),
        (error) => (this.#awaited.delete(awaited), reject(error)),
      );
    });
  }

  #tick(): void {
    this.#timer = this.#awaited.size > 0 ? startTimer(TICK_MS, () => this.#tick(), false) : undefined;
    const [first] = this.#awaited;
    if (first && first.until <= monotonic()) afterReads(() => this.#expire());
  }

  /** Gives up what is due. Answers that have arrived were read just before: the process may have stood still. */
  #expire(): void {
    const now = monotonic();
    for (const awaited of this.#awaited) {
      if (awaited.until > now) return; // the others came later
      this.#awaited.delete(awaited);
      awaited.expire();
    }
  }

  /** Stops watching: the connections are about to be cut, which ends every wait. */
  close(): void {
    this.#closed = true;
    this.#timer?.stop();
    this.#timer = undefined;
  }
}
