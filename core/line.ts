import type { AcquireAnswer, AcquireRequest, Backend, LockRow } from "./backend.ts";
import { batched } from "./batching.ts";
import { Caller } from "./caller.ts";
import { BackendError } from "./errors.ts";
import { LockRecord } from "./record.ts";
import { countedFrom, mayPass } from "./retrying.ts";
import { monotonic, startTimer, type Timer } from "./runtime.ts";
import type { Lines, Outcome } from "./waiting.ts";

/** Pauses between tries where a backend cannot wake anybody (ms): from the first to the last, growing by half. */
const POLL_FIRST = 10;
const POLL_LAST = 250;
/** A waiter lives through errors that may pass for so long since the last good answer, trying again after a pause (ms). */
const PATIENCE = 10_000;
const PATIENCE_PAUSE = 100;
/** How long a question may still be unanswered when the wait of its caller is over (ms): a slow commit, and no more. */
const LAST_ANSWER = 2_000;
/** A lease is tried again so long after it lapsed by this process's reckoning (ms). */
const AFTER_EXPIRY = 1;

/** Those of this process who want one name, in the order in which they came. Only the first asks the server. */
export class Line {
  readonly #backend: Backend;
  readonly #name: string;
  readonly #lines: Lines;
  readonly #empty: () => void;
  readonly #callers: Caller[] = [];
  #running = false;
  #bell: (() => void) | undefined;
  #rung = false;
  #watch: Disposable | undefined;
  #watched = false;
  #poll = POLL_FIRST;
  /** The lock in the way as last seen, and when it lapses by this process's reckoning (ms, monotonic). */
  #holder: LockRow | undefined;
  #seenAt = -Infinity;
  #freeAt = Infinity;
  #answeredAt = -Infinity;

  constructor(backend: Backend, name: string, lines: Lines, empty: () => void) {
    this.#backend = backend;
    this.#name = name;
    this.#lines = lines;
    this.#empty = empty;
  }

  /** Puts a caller at the end; the promise has its outcome. */
  join(request: AcquireRequest, deadline: number, signal?: AbortSignal): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const caller = new Caller(request, deadline, resolve, reject);
      caller.limit(() => this.#over(caller));
      caller.listen(signal, () => (this.#fail(caller, signal!.reason), this.wake()));
      this.#callers.push(caller);
      if (!this.#running) this.#run();
      else if (!caller.waits) this.wake();
    });
  }

  /** A caller's wait is over. The head has one last try; whoever is behind it has its answer. */
  #over(caller: Caller): void {
    if (this.#callers[0] !== caller) return this.#giveUp(caller);
    this.wake();
    caller.after(LAST_ANSWER, () => (this.#fail(caller, this.#silence()), this.wake()));
  }

  #fail(caller: Caller, reason: unknown): void {
    this.#strike(caller);
    caller.fail(reason);
  }

  #giveUp(caller: Caller): void {
    this.#strike(caller);
    caller.settle({ granted: false, holder: this.#holder && new LockRecord(this.#holder, this.#seenAt) });
  }

  #strike(caller: Caller): void {
    const index = this.#callers.indexOf(caller);
    if (index >= 0) this.#callers.splice(index, 1);
  }

  /** The name may be free by now: the head tries again. */
  wake(): void {
    this.#rung = true;
    this.#bell?.();
  }

  /** Serves the line until nobody is left. */
  async #run(): Promise<void> {
    this.#running = true;
    this.#rung = true;
    for (let head = this.#callers[0]; head; head = this.#callers[0]) {
      if (this.#isTimeToTry(head)) await this.#try(head);
      else await this.#pause(head);
    }
    this.#watch?.[Symbol.dispose]();
    this.#running = false;
    this.#empty();
  }

  /** Until when the head holds back so that other processes get their turn. */
  #holdBackUntil(head: Caller): number {
    return !head.waits ? -Infinity : Math.min(this.#lines.courtesyUntil(this.#name), head.deadline);
  }

  #isTimeToTry(head: Caller): boolean {
    const now = monotonic();
    if (now < this.#holdBackUntil(head)) return false;
    return this.#rung || now >= this.#freeAt || now >= head.deadline;
  }

  /** One attempt of the head; everybody whose question it answers gets the answer. */
  async #try(head: Caller): Promise<void> {
    this.#rung = false;
    for (const caller of this.#callers) caller.asked = true;
    // The answer is for everybody in line: a plain no only when nobody wants to know more.
    const plainNo = this.#callers.every(({ request }) => request.plainNo);
    const request = plainNo === head.request.plainNo ? head.request : { ...head.request, plainNo };
    let askedAt = monotonic();
    const firstAskedAt = head.firstAskedAt ??= askedAt;
    try {
      // What is left is counted by the server when it answers: from before the question that this was the answer to.
      const answer = await batched(this.#backend).acquire.ask(request, () => askedAt = monotonic());
      this.#answeredAt = monotonic();
      if (answer.granted) this.#granted(head, answer, countedFrom(request, answer.row, firstAskedAt, askedAt));
      else this.#busy(head, answer.holder, askedAt);
    } catch (error) {
      this.#failed(head, error);
    }
  }

  #granted(head: Caller, answer: AcquireAnswer & { granted: true }, askedAt: number): void {
    const { row, lifeline } = answer;
    this.#lines.noteGrant(row);
    if (head.gone) this.#giveBack(head.request);
    else {
      const claim = { name: head.request.name, owner: head.request.owner };
      this.#strike(head);
      head.settle({ granted: true, grant: { backend: this.#backend, claim, row, askedAt, lifeline } });
    }
    this.#remember(row, askedAt);
    for (const caller of this.#callers.filter(({ waits }) => !waits)) this.#giveUp(caller);
  }

  #busy(head: Caller, holder: LockRow | undefined, askedAt: number): void {
    if (holder) this.#lines.noteHolder(holder);
    this.#remember(holder, askedAt);
    const over = monotonic();
    for (const caller of [...this.#callers]) {
      if (caller.asked && (!caller.waits || (caller === head && caller.deadline <= over))) this.#giveUp(caller);
    }
    if (holder === undefined && head.request.plainNo) this.#rung = true; // who came since learns who has it by asking
  }

  #failed(head: Caller, error: unknown): void {
    const now = monotonic();
    const patient = mayPass(error) && now - this.#answeredAt < PATIENCE && now < head.deadline && !head.gone;
    const stays = (caller: Caller) => patient && caller.waits;
    if (mayPass(error) && !stays(head)) this.#giveBack(head.request); // granted, perhaps, in an answer that never came
    for (const caller of [...this.#callers]) if (caller.asked && !stays(caller)) this.#fail(caller, error);
    if (patient) this.#freeAt = now + PATIENCE_PAUSE;
    else this.#rung = true;
  }

  /** Nobody can say what came of the last question: it may yet be granted, and is given back then. */
  #silence(): BackendError {
    return new BackendError(
      `Cannot acquire lock ${JSON.stringify(this.#name)}: the wait is over, and for ${LAST_ANSWER / 1e3} s ` +
        "there was no answer of the database",
      { retryable: true },
    );
  }

  #remember(row: LockRow | undefined, askedAt: number): void {
    this.#holder = row;
    this.#seenAt = askedAt;
    this.#freeAt = row === undefined || row.lockedUntil === null
      ? Infinity
      : askedAt + (row.lockedUntil - row.now) / 1e3 + AFTER_EXPIRY;
  }

  /** Releases what nobody wants any more. Without an answer it lapses. */
  #giveBack({ name, owner }: AcquireRequest): void {
    batched(this.#backend).release.ask({ name, owner }).then(() => this.wake(), () => {});
  }

  /** Waits for a reason to try again: a wake-up, the holder's expiry, the end of the head's wait, or the poll. */
  async #pause(head: Caller): Promise<void> {
    if (!this.#watched) this.#startWatch();
    const now = monotonic();
    const holdBack = this.#holdBackUntil(head);
    if (this.#rung && holdBack <= now) return; // the courtesy ended between the question and this answer
    const polls = this.#watch === undefined && holdBack <= now;
    let until = holdBack > now ? holdBack : Math.min(this.#freeAt, head.deadline);
    if (polls) {
      until = Math.min(until, now + this.#poll * (0.5 + Math.random()));
      this.#poll = Math.min(this.#poll * 1.5, POLL_LAST);
    }
    let timer: Timer | undefined;
    await new Promise<void>((resolve) => {
      this.#bell = holdBack > now ? undefined : resolve;
      if (until < Infinity) timer = startTimer(until - now, resolve, true);
    });
    timer?.stop();
    this.#bell = undefined;
    if (polls) this.#rung = true;
  }

  /**
   * Asks the backend to wake this line; what happened before it listens is found by one more try. Until then, and
   * where it cannot, the line polls: a hint that cannot be had is no error, and the next try tells of a broken server.
   */
  #startWatch(): void {
    this.#watched = true;
    this.#backend.watch?.(this.#name, () => this.wake()).then((watch) => {
      if (!this.#running) return watch[Symbol.dispose]();
      this.#watch = watch;
      this.wake();
    }, () => {});
  }
}
