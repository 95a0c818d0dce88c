import type { Asker } from "./asker.ts";
import { choose } from "./choosing.ts";
import { BackendError } from "../errors.ts";
import { isRetryable } from "../util/retry.ts";
import { PATIENCE, type Road } from "./road.ts";
import { monotonic, startTimer, type Timer } from "../util/runtime.ts";

/** Requests in one batch, at most: beyond some hundreds a batch gains nothing and its answers come later. */
const TOGETHER = 1_000;
/** After a batch failed in passing so many go abreast, each alone; when as many fail in a row, the server is gone. */
const ABREAST = 8;

/** One request of a verb to the backend. */
type Send<Request, Answer> = (requests: readonly Request[]) => Promise<Answer[]>;

/** One verb of one backend. */
export class Batcher<Request extends { readonly name: string }, Answer> {
  readonly #send: Send<Request, Answer>;
  readonly #road: Road;
  #waiting: Asker<Request, Answer>[] = [];
  /** The number of the request under way that others wait for; 0 for none. */
  #underWay = 0;
  #sent = 0;
  /** The number of the batch under way; 0 for none. */
  #travelling = 0;
  /** Whether those who wait are about to be sent. */
  #leaving = false;
  /** Whether the last request was a batch: its callers come back together, and shall leave together. */
  #crowded = false;
  #timer: Timer | undefined;

  constructor(send: Send<Request, Answer>, road: Road) {
    this.#send = send;
    this.#road = road;
  }

  /** Sends a request, with others or alone, and again if it failed with an error that may pass. */
  send(asker: Asker<Request, Answer>): void {
    if (this.#underWay === 0 && !this.#crowded && !this.#leaving) this.#alone(asker);
    else this.#join(asker);
  }

  /** The same for those who would rather have a promise. */
  ask(request: Request, sent?: (at: number) => void): Promise<Answer> {
    return new Promise((answered, failed) => this.send({ request, sent, answered, failed }));
  }

  /** Sends several requests in one batch, each with an answer of its own. */
  askEach(requests: readonly Request[]): Promise<Answer>[] {
    if (requests.length === 1) return [this.ask(requests[0])];
    return requests.map((request) => new Promise((answered, failed) => this.#join({ request, answered, failed })));
  }

  /** The way of a lone caller: not one step more than without batches. */
  async #alone(asker: Asker<Request, Answer>, number = this.#underWay = ++this.#sent, repeated = false): Promise<void> {
    if (asker.sent) asker.sent(monotonic());
    let answers: Answer[];
    try {
      answers = await this.#send([asker.request]);
    } catch (error) {
      if (!repeated && isRetryable(error)) {
        asker.repeats?.();
        return await this.#alone(asker, number, true);
      }
      this.#done(number);
      return asker.failed(error);
    }
    this.#done(number);
    asker.answered(answers[0]);
  }

  #join(asker: Asker<Request, Answer>): void {
    this.#waiting.push(asker);
    if (this.#underWay > 0) this.#bePatient();
    else this.#queue();
  }

  /** Those who wait leave as soon as the road is free. */
  #queue(): void {
    if (this.#leaving) return;
    this.#leaving = true;
    this.#road.queue(() => this.#leave());
  }

  /** Sends those who wait. */
  #leave(): void {
    this.#leaving = false;
    const [askers, others] = choose(this.#waiting, TOGETHER);
    this.#waiting = others;
    this.#crowded = askers.length > 1;
    const number = this.#underWay = ++this.#sent;
    if (this.#crowded) this.#travelling = this.#road.take();
    if (this.#waiting.length > 0) this.#bePatient();
    this.#deliver(askers).then(() => this.#done(number));
  }

  /** The request is over: the next may go. */
  #done(number: number): void {
    if (this.#underWay === number) this.#goOn();
  }

  #goOn(): void {
    this.#underWay = 0;
    this.#road.free(this.#travelling);
    this.#timer?.stop();
    this.#timer = undefined;
    if (this.#waiting.length > 0) this.#queue();
  }

  #bePatient(): void {
    this.#timer ??= startTimer(PATIENCE, () => this.#goOn(), true);
  }

  /** Sends a batch and hands out the answers. Never rejects: each caller has its own outcome. */
  async #deliver(askers: Asker<Request, Answer>[]): Promise<void> {
    const at = monotonic();
    for (const asker of askers) asker.sent?.(at);
    let answers: Answer[];
    try {
      answers = await this.#send(askers.map(({ request }) => request));
    } catch (error) {
      return await (isRetryable(error) ? this.#repeat(askers) : this.#divide(askers, error));
    }
    for (let index = 0; index < askers.length; index++) askers[index].answered(answers[index]);
  }

  /** An error that will not pass: somebody's request is at fault. Halves find it in few steps, and spare the others. */
  async #divide(askers: Asker<Request, Answer>[], error: unknown): Promise<void> {
    if (askers.length === 1) return askers[0].failed(error);
    const middle = askers.length >> 1;
    await this.#deliver(askers.slice(0, middle));
    await this.#deliver(askers.slice(middle));
  }

  /**
   * An error that may pass says nothing about any request: each gets its second try, alone, so that one that waits for
   * its row keeps nobody else waiting. When the first of them fail all in the same way, nobody else needs to ask.
   */
  async #repeat(askers: Asker<Request, Answer>[]): Promise<void> {
    let failures = 0;
    let failed: { name: string; error: BackendError } | undefined;
    const again = async (asker: Asker<Request, Answer>) => {
      if (failures >= ABREAST) return asker.failed(sameFor(asker.request.name, failed!));
      asker.repeats?.();
      asker.sent?.(monotonic());
      let answers: Answer[];
      try {
        answers = await this.#send([asker.request]);
      } catch (error) {
        failures = isRetryable(error) ? failures + 1 : 0;
        if (isRetryable(error)) failed = { name: asker.request.name, error: error as BackendError };
        return asker.failed(error);
      }
      failures = 0;
      asker.answered(answers[0]);
    };
    const queue = askers.values();
    const work = async () => {
      for (const asker of queue) await again(asker);
    };
    await Promise.all(Array.from({ length: ABREAST }, work));
  }
}

/** The error that another caller met, in a sentence about this caller's lock. */
function sameFor(name: string, { name: other, error }: { name: string; error: BackendError }): BackendError {
  const message = error.message.replace(JSON.stringify(other), () => JSON.stringify(name));
  return new BackendError(message, { cause: error.cause, retryable: error.retryable });
}
