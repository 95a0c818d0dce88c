import { BackendError } from "../errors.ts";
import { withDeadline } from "./deadline.ts";
import { defer } from "./runtime.ts";

/** How long the last requests are waited for (ms): of the half second that `closeLocks` gives an engine to close. */
const LAST_ANSWERS_MS = 150;

/** The error of a request without an answer: it may still take effect. */
export class Unanswered extends BackendError {
  override name = "BackendError";
}

/** The requests in progress on a client of the caller's, which is never closed here. */
export class InProgress {
  readonly #ends = new Map<Promise<unknown>, () => void>();
  #closed = false;

  /**
   * Sends a request and waits for its answer, at the longest until the backend has been closed.
   *
   * @param what What fails then, for the error: `"list locks"`.
   */
  async run<T>(what: string, send: () => PromiseLike<T>): Promise<T> {
    const message = `Cannot ${what}: the backend was disposed of`;
    if (this.#closed) throw new BackendError(message);
    let end: () => void;
    const ended = new Promise<never>((_, reject) => end = () => reject(new Unanswered(message)));
    const outcome = Promise.race([send(), ended]);
    this.#ends.set(outcome, end!);
    try {
      return await outcome;
    } finally {
      this.#ends.delete(outcome);
    }
  }

  /** Refuses further requests, waits for the last answers, and fails the requests that have none. */
  async close(): Promise<void> {
    this.#closed = true;
    await withDeadline(LAST_ANSWERS_MS, Promise.allSettled(this.#ends.keys()));
    this.end();
    await new Promise<void>(defer); // the senders handle the error before the caller goes on
  }

  /** Refuses further requests, and fails those without an answer. */
  end(): void {
    this.#closed = true;
    for (const end of this.#ends.values()) end();
  }
}
