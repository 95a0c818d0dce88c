import { BackendError } from "../errors.ts";
import { quoted } from "../events/invisible.ts";
import { byCodePoint } from "../util/order.ts";
import { isRetryable } from "../util/retry.ts";
import { defer, monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Requests in one batch: beyond some hundreds a batch gains nothing, and its answers come later. */
const BATCH_LIMIT = 1_000;
/** A request without an answer delays those behind it for this long (ms): it may wait for one locked row. */
const OVERTAKE_AFTER_MS = 250;
/** Requests of a failed batch that are repeated at the same time; after as many failures in a row the server is down. */
const PARALLEL_REPEATS = 8;

/** The error of a request that was not sent, because its caller left while it waited for its batch. */
export const NOT_SENT: Error = new Error("The caller left before the request was sent");

/** What a request must have. */
interface Named {
  readonly name: string;
}

/** A verb of a backend. */
type Verb<Request, Answer> = (requests: readonly Request[]) => Promise<Answer[]>;

/** The answer to one request. */
export interface Answered<Answer> {
  readonly answer: Answer;
  /** Monotonic time (ms) before the request was sent. */
  readonly askedAt: number;
  /** Whether it was sent twice: the first time may have taken effect already. */
  readonly repeated: boolean;
  /** How many requests were sent with it, itself included. */
  readonly batch: number;
}

/** A request that waits for its batch or its answer. */
interface PendingRequest<Request, Answer> {
  readonly request: Request;
  /** Whether its caller still waits for the answer. */
  isWanted(): boolean;
  resolve(answered: Answered<Answer>): void;
  reject(error: unknown): void;
}

/**
 * Batches the concurrent requests of one verb to one backend. A lone request is sent at once. Requests that come while
 * another is in flight wait for its answer, and are then sent together: a statement for hundreds of names costs little
 * more than one for a single name, which gives 15 to 56 times the throughput. A request that fails with a retryable
 * error is repeated once, alone.
 */
export class RequestBatcher<Request extends Named, Answer> {
  readonly #send: Verb<Request, Answer>;
  readonly #asRepeated: (request: Request) => Request;
  #waiting: PendingRequest<Request, Answer>[] = [];
  /** The number of the request or batch in flight that others wait for; 0 for none. */
  #inFlight = 0;
  #count = 0;
  #flushing = false;
  /** Whether the last request was a batch: its callers come back at about the same time, and are batched again. */
  #lastWasBatch = false;
  #overtakeTimer: Timer | undefined;

  /**
   * @param send The backend's verb.
   * @param asRepeated What is sent when a request is repeated.
   */
  constructor(send: Verb<Request, Answer>, asRepeated: (request: Request) => Request = (request) => request) {
    this.#send = send;
    this.#asRepeated = asRepeated;
  }

  /**
   * Sends a request: at once, or in the next batch, as when others come at the same moment (`together`). It is sent and
   * repeated only while its caller waits for it: what is sent later could be granted after the caller was told an error.
   * Rejects with `NOT_SENT` if the caller left before.
   */
  send(request: Request, together = false, isWanted = () => true): Promise<Answered<Answer>> {
    const alone = !together && this.#inFlight === 0 && !this.#flushing && !this.#lastWasBatch;
    return alone ? this.#sendFirst(request, isWanted) : this.#enqueue(request, isWanted);
  }

  async #sendFirst(request: Request, isWanted: () => boolean): Promise<Answered<Answer>> {
    const number = this.#inFlight = ++this.#count;
    try {
      return await this.sendAlone(request, isWanted);
    } finally {
      this.#end(number);
    }
  }

  #enqueue(request: Request, isWanted: () => boolean): Promise<Answered<Answer>> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, isWanted, resolve, reject });
      this.#scheduleNext();
    });
  }

  /** A request has its answer, or has been overtaken: the next batch may go. */
  #end(number: number): void {
    if (this.#inFlight !== number) return;
    this.#inFlight = 0;
    this.#overtakeTimer?.stop();
    this.#overtakeTimer = undefined;
    this.#scheduleNext();
  }

  /** Sends the waiting requests once nothing is in flight; those of the same moment are collected first. */
  #scheduleNext(): void {
    if (this.#waiting.length === 0 || this.#flushing) return;
    if (this.#inFlight > 0) {
      const number = this.#inFlight;
      this.#overtakeTimer ??= startTimer(OVERTAKE_AFTER_MS, () => this.#end(number), true);
      return;
    }
    this.#flushing = true;
    defer(() => this.#sendNext());
  }

  async #sendNext(): Promise<void> {
    this.#flushing = false;
    const batch = this.#takeBatch();
    if (batch.length === 0) return;
    const number = this.#inFlight = ++this.#count;
    this.#lastWasBatch = batch.length > 1;
    this.#scheduleNext();
    await this.#sendBatch(batch);
    this.#end(number);
  }

  /** Takes the next batch: each name once, in one order for all clients, so that their row locks never deadlock. */
  #takeBatch(): PendingRequest<Request, Answer>[] {
    const batch = new Map<string, PendingRequest<Request, Answer>>();
    const later: PendingRequest<Request, Answer>[] = [];
    for (const pending of this.#waiting) {
      const { name } = pending.request;
      if (!pending.isWanted()) pending.reject(NOT_SENT);
      else if (batch.size < BATCH_LIMIT && !batch.has(name)) batch.set(name, pending);
      else later.push(pending);
    }
    this.#waiting = later;
    return [...batch.values()].sort((one, other) => byCodePoint(one.request.name, other.request.name));
  }

  /** Sends a request beside the batches. */
  async sendAlone(request: Request, isWanted = () => true, repeated = false): Promise<Answered<Answer>> {
    const askedAt = monotonic();
    try {
      const [answer] = await this.#send([request]);
      return { answer, askedAt, repeated, batch: 1 };
    } catch (error) {
      if (repeated || !isRetryable(error) || !isWanted()) throw error;
      return await this.sendAlone(this.#asRepeated(request), isWanted, true);
    }
  }

  /** Sends a batch and settles its requests. Never rejects. */
  async #sendBatch(batch: readonly PendingRequest<Request, Answer>[]): Promise<void> {
    const askedAt = monotonic();
    try {
      const answers = await this.#send(batch.map(({ request }) => request));
      batch.forEach(({ resolve }, index) =>
        resolve({ answer: answers[index], askedAt, repeated: false, batch: batch.length })
      );
    } catch (error) {
      if (isRetryable(error)) return await this.#repeatEach(batch, error);
      if (batch.length === 1) return batch[0].reject(error);
      // One request is at fault: halves find it in few steps, and the others succeed.
      const middle = batch.length >> 1;
      await this.#sendBatch(batch.slice(0, middle));
      await this.#sendBatch(batch.slice(middle));
    }
  }

  /**
   * Repeats each request of a batch alone, so that one that waits for its row delays no other. Once the server seems to
   * be down, the others fail with the same error.
   */
  async #repeatEach(batch: readonly PendingRequest<Request, Answer>[], error: unknown): Promise<void> {
    const open = batch.values();
    let failures: { readonly name: string; readonly error: BackendError }[] = [];
    const repeat = async () => {
      for (const { request, isWanted, resolve, reject } of open) {
        if (!isWanted()) {
          reject(error);
          continue;
        }
        if (failures.length >= PARALLEL_REPEATS) {
          reject(sameErrorFor(request.name, failures[0]));
          continue;
        }
        try {
          resolve(await this.sendAlone(this.#asRepeated(request), isWanted, true));
          failures = [];
        } catch (error) {
          failures = isRetryable(error) ? [{ name: request.name, error: error as BackendError }, ...failures] : [];
          reject(error);
        }
      }
    };
    await Promise.all(Array.from({ length: PARALLEL_REPEATS }, repeat));
  }
}

/** The error of another request, as a sentence about this one's lock. */
function sameErrorFor(name: string, { name: other, error }: { name: string; error: BackendError }): BackendError {
  const message = error.message.replace(quoted(other), () => quoted(name));
  return new BackendError(message, { cause: error.cause, retryable: error.retryable });
}
