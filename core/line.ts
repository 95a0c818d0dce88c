import type { AcquireAnswer, AcquireRequest, Backend, LockRow } from "./backend.ts";
import { batched } from "./batching.ts";
import { BackendError } from "./errors.ts";
import { LockRecord } from "./record.ts";
import { mayPass } from "./retrying.ts";
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

/** One caller in a line. */
interface Entry {
  readonly request: AcquireRequest;
  /** When the wait is over (ms, monotonic); `-Infinity` for a caller who does not wait. */
  readonly deadline: number;
  /** Whether an attempt began after this caller came. */
  asked: boolean;
  /** Whether this caller has its outcome, or has left. */
  gone: boolean;
  /** Hands the outcome over, or the error. */
  readonly settle: (outcome: Outcome) => void;
  readonly fail: (reason: unknown) => void;
}

/** Those of this process who want one name, in the order in which they came. Only the first asks the server. */
export class Line {
  readonly #backend: Backend;
  readonly #name: string;
  readonly #lines: Lines;
  readonly #empty: () => void;
  readonly #entries: Entry[] = [];
  #running = false;
  #bell: (() => void) | undefined;
  #rung = false;
  #watch: Disposable | undefined;
  #watched = false;
  #poll = POLL_FIRST;
  /** The lock in the way as last seen, and when it lapses by this process's reckoning (ms, monotonic). */
  #holder: LockRecord | undefined;
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
      let timer: Timer | undefined;
      const leave = () => {
        entry.gone = true;
        timer?.stop();
        signal?.removeEventListener("abort", abort);
        const index = this.#entries.indexOf(entry);
        if (index >= 0) this.#entries.splice(index, 1);
      };
      const settle = (outcome: Outcome) => (leave(), resolve(outcome));
      const fail = (reason: unknown) => (leave(), reject(reason));
      const abort = () => (fail(signal!.reason), this.wake());
      const entry: Entry = { request, deadline, asked: false, gone: false, settle, fail };
      signal?.addEventListener("abort", abort, { once: true });
      const expire = () => {
        const left = deadline - monotonic();
        if (left > 0) timer = startTimer(left, expire, true);
        else if (this.#entries[0] === entry) {
          this.wake(); // one last try, then the line gives up for it
          timer = startTimer(LAST_ANSWER, () => (fail(this.#silence()), this.wake()), true);
        } else settle({ granted: false, holder: this.#holder });
      };
      if (deadline > -Infinity && deadline < Infinity) timer = startTimer(deadline - monotonic(), expire, true);
      this.#entries.push(entry);
      if (this.#running) {
        if (deadline === -Infinity) this.wake();
      } else this.#run();
    });
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
    for (let head = this.#entries[0]; head; head = this.#entries[0]) {
      if (this.#isTimeToTry(head)) await this.#try(head);
      else await this.#pause(head);
    }
    this.#watch?.[Symbol.dispose]();
    this.#running = false;
    this.#empty();
  }

  /** Until when the head holds back so that other processes get their turn. */
  #holdBackUntil(head: Entry): number {
    return head.deadline === -Infinity ? -Infinity : Math.min(this.#lines.courtesyUntil(this.#name), head.deadline);
  }

  #isTimeToTry(head: Entry): boolean {
    const now = monotonic();
    if (now < this.#holdBackUntil(head)) return false;
    return this.#rung || now >= this.#freeAt || now >= head.deadline;
  }

  /** One attempt of the head; everybody whose question it answers gets the answer. */
  async #try(head: Entry): Promise<void> {
    this.#rung = false;
    for (const entry of this.#entries) entry.asked = true;
    // The answer is for everybody in line: a plain no only when nobody wants to know more.
    const plainNo = this.#entries.every(({ request }) => request.plainNo);
    const request = plainNo === head.request.plainNo ? head.request : { ...head.request, plainNo };
    let askedAt = monotonic();
    try {
      // What is left is counted by the server when it answers: from before the question that this was the answer to.
      const answer = await batched(this.#backend).acquire.ask(request, () => askedAt = monotonic());
      this.#answeredAt = monotonic();
      if (answer.granted) this.#granted(head, answer, askedAt);
      else this.#busy(head, answer.holder, askedAt);
    } catch (error) {
      this.#failed(head, error);
    }
  }

  #granted(head: Entry, answer: AcquireAnswer & { granted: true }, askedAt: number): void {
    const { row, lifeline } = answer;
    this.#lines.noteGrant(row);
    if (head.gone) this.#giveBack(head.request);
    else {
      const claim = { name: head.request.name, owner: head.request.owner };
      head.settle({ granted: true, grant: { backend: this.#backend, claim, row, askedAt, lifeline } });
    }
    this.#remember(row, askedAt);
    for (const entry of this.#entries.filter(({ deadline }) => deadline === -Infinity)) this.#giveUp(entry);
  }

  #busy(head: Entry, holder: LockRow | undefined, askedAt: number): void {
    if (holder) this.#lines.noteHolder(holder);
    this.#remember(holder, askedAt);
    const over = monotonic();
    for (const entry of [...this.#entries]) {
      if (entry.asked && (entry.deadline === -Infinity || (entry === head && entry.deadline <= over))) {
        this.#giveUp(entry);
      }
    }
    if (holder === undefined && head.request.plainNo) this.#rung = true; // who came since learns who has it by asking
  }

  #failed(head: Entry, error: unknown): void {
    const now = monotonic();
    const patient = mayPass(error) && now - this.#answeredAt < PATIENCE && now < head.deadline && !head.gone;
    const stays = (entry: Entry) => patient && entry.deadline > -Infinity;
    if (mayPass(error) && !stays(head)) this.#giveBack(head.request); // granted, perhaps, in an answer that never came
    for (const entry of [...this.#entries]) if (entry.asked && !stays(entry)) entry.fail(error);
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

  #giveUp(entry: Entry): void {
    entry.settle({ granted: false, holder: this.#holder });
  }

  #remember(row: LockRow | undefined, askedAt: number): void {
    this.#holder = row && new LockRecord(row, askedAt);
    this.#freeAt = row === undefined || row.lockedUntil === null
      ? Infinity
      : askedAt + (row.lockedUntil - row.now) / 1e3 + AFTER_EXPIRY;
  }

  /** Releases what nobody wants any more. Without an answer it lapses. */
  #giveBack({ name, owner }: AcquireRequest): void {
    batched(this.#backend).release.ask({ name, owner }).then(() => this.wake(), () => {});
  }

  /** Waits for a reason to try again: a wake-up, the holder's expiry, the end of the head's wait, or the poll. */
  async #pause(head: Entry): Promise<void> {
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
