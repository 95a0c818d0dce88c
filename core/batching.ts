/**
 * Callers that arrive together travel together. Between the core and a backend's batch-shaped verbs: who comes alone
 * asks at once; who comes while a request of that verb is under way waits for it and goes with all others that wait.
 * One statement for hundreds of names costs little more than for one: 15 to 56 times the locks per second.
 *
 * @module
 */
import type { AcquireAnswer, AcquireRequest, Backend, LockRow, RenewRequest, Target } from "./backend.ts";
import { BackendError } from "./errors.ts";
import { mayPass, twice } from "./retrying.ts";
import { PATIENCE, Road } from "./road.ts";
import { startTimer, type Timer } from "./runtime.ts";

/** Requests in one batch, at most: beyond some hundreds a batch gains nothing and its answers come later. */
const TOGETHER = 1_000;
/** After a batch failed in passing so many go abreast, each alone; when as many fail in a row, the server is gone. */
const ABREAST = 8;

/** One caller of a verb. */
interface Caller<Request, Answer> {
  readonly request: Request;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (reason: unknown) => void;
  /** Told before the request is sent a second time: what it asked for may have happened already. */
  readonly onRepeat: (() => void) | undefined;
}

/** One request of a verb to the backend. */
type Send<Request, Answer> = (requests: readonly Request[]) => Promise<Answer[]>;

/** One verb of one backend. */
export class Batcher<Request extends { readonly name: string }, Answer> {
  readonly #send: Send<Request, Answer>;
  readonly #road: Road;
  readonly #never: boolean;
  #waiting: Caller<Request, Answer>[] = [];
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

  /** @param never Whether each request goes alone, whoever else is there. */
  constructor(send: Send<Request, Answer>, road: Road, never = false) {
    this.#send = send;
    this.#road = road;
    this.#never = never;
  }

  /** Sends a request, with others or alone, and again if it failed with an error that may pass. */
  ask(request: Request, onRepeat?: () => void): Promise<Answer> {
    if (this.#never || (this.#underWay === 0 && !this.#crowded && !this.#leaving)) {
      return this.#alone(request, onRepeat);
    }
    return this.#join(request, onRepeat);
  }

  /** Sends several requests in one batch, each with an answer of its own. */
  askEach(requests: readonly Request[]): Promise<Answer>[] {
    return requests.length === 1 ? [this.ask(requests[0])] : requests.map((request) => this.#join(request));
  }

  /** The way of a lone caller: not one step more than without batches. */
  async #alone(request: Request, onRepeat?: () => void): Promise<Answer> {
    const number = this.#underWay = ++this.#sent;
    try {
      return (await twice(() => this.#send([request]), onRepeat))[0];
    } finally {
      this.#done(number);
    }
  }

  #join(request: Request, onRepeat?: () => void): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request, resolve, reject, onRepeat });
      if (this.#underWay > 0) this.#bePatient();
      else this.#queue();
    });
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
    const callers = this.#next();
    this.#crowded = callers.length > 1;
    const number = this.#underWay = ++this.#sent;
    if (this.#crowded) this.#travelling = this.#road.take();
    if (this.#waiting.length > 0) this.#bePatient();
    this.#deliver(callers).then(() => this.#done(number));
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

  /** Takes from those who wait the first ones, each name once, in the order in which everybody locks rows. */
  #next(): Caller<Request, Answer>[] {
    const chosen = new Map<string, Caller<Request, Answer>>();
    const others: Caller<Request, Answer>[] = [];
    for (const caller of this.#waiting) {
      const { name } = caller.request;
      if (chosen.size < TOGETHER && !chosen.has(name)) chosen.set(name, caller);
      else others.push(caller);
    }
    this.#waiting = others;
    return [...chosen.values()].sort((a, b) => a.request.name < b.request.name ? -1 : 1);
  }

  /** Sends a batch and hands out the answers. Never rejects: each caller has its own outcome. */
  async #deliver(callers: Caller<Request, Answer>[]): Promise<void> {
    try {
      const answers = await this.#send(callers.map(({ request }) => request));
      callers.forEach((caller, index) => caller.resolve(answers[index]));
    } catch (error) {
      if (mayPass(error)) await this.#repeat(callers);
      else await this.#divide(callers, error);
    }
  }

  /** An error that will not pass: somebody's request is at fault. Halves find it in few steps, and spare the others. */
  async #divide(callers: Caller<Request, Answer>[], error: unknown): Promise<void> {
    if (callers.length === 1) return callers[0].reject(error);
    const middle = callers.length >> 1;
    await this.#deliver(callers.slice(0, middle));
    await this.#deliver(callers.slice(middle));
  }

  /**
   * An error that may pass says nothing about any request: each gets its second try, alone, so that one that waits for
   * its row keeps nobody else waiting. When the first of them fail all in the same way, nobody else needs to ask.
   */
  async #repeat(callers: Caller<Request, Answer>[]): Promise<void> {
    let failures = 0;
    let failed: { name: string; error: BackendError } | undefined;
    const again = async ({ request, resolve, reject, onRepeat }: Caller<Request, Answer>) => {
      if (failures >= ABREAST) return reject(sameFor(request.name, failed!));
      onRepeat?.();
      try {
        resolve((await this.#send([request]))[0]);
        failures = 0;
      } catch (error) {
        failures = mayPass(error) ? failures + 1 : 0;
        if (mayPass(error)) failed = { name: request.name, error: error as BackendError };
        reject(error);
      }
    };
    const queue = callers.values();
    const work = async () => {
      for (const caller of queue) await again(caller);
    };
    await Promise.all(Array.from({ length: ABREAST }, work));
  }
}

/** The error that another caller met, in a sentence about this caller's lock. */
function sameFor(name: string, { name: other, error }: { name: string; error: BackendError }): BackendError {
  const message = error.message.replace(JSON.stringify(other), () => JSON.stringify(name));
  return new BackendError(message, { cause: error.cause, retryable: error.retryable });
}

/** The verbs of one backend, each with its own batches. What is all or nothing is no part of them. */
export interface Batches {
  readonly acquire: Batcher<AcquireRequest, AcquireAnswer>;
  readonly renew: Batcher<RenewRequest, LockRow | undefined>;
  readonly release: Batcher<Target, boolean>;
}

const batchesOf = new WeakMap<Backend, Batches>();

/** The batches of a backend. */
export function batched(backend: Backend): Batches {
  let batches = batchesOf.get(backend);
  if (batches === undefined) {
    const never = backend.singly === true;
    const road = new Road();
    batches = {
      acquire: new Batcher((requests) => backend.acquire(requests), road, never),
      renew: new Batcher((requests) => backend.renew(requests), road, never),
      release: new Batcher((targets) => backend.release(targets), road, never),
    };
    batchesOf.set(backend, batches);
  }
  return batches;
}
