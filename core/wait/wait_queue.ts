import type { AcquireAnswer, AcquireRequest, Backend, LockRow } from "../backend.ts";
import type { BackendError } from "../errors.ts";
import type { Outcome } from "../grant.ts";
import { leaseStart } from "../lock/lease.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { Backoff } from "../util/backoff.ts";
import { withDeadline } from "../util/deadline.ts";
import { type BusyAnswer, claimOf } from "../util/requests.ts";
import { isBackendError, isRetryable } from "../util/retry.ts";
import { defer, monotonic, sleep } from "../util/runtime.ts";
import { type BackendState, type NameQueue, stateOf } from "./backend_state.ts";
import { type Answered, NOT_SENT } from "./batcher.ts";
import { FairnessYield } from "./fairness_yield.ts";
import { LAST_ANSWER_MS, noAnswer } from "./given_up.ts";
import { Waiter } from "./waiter.ts";
import { Wakeup } from "./wakeup.ts";

/** Pauses (ms) of a waiter between tries while the database cannot be reached. */
const OUTAGE = { first: 100, longest: 1_000, factor: 1.5, jitter: 0.5 };
/** How long a waiter that gives up waits at most until its place in the database's queue is given back (ms). */
export const LEAVE_MS = 500;
/** A lease is tried for this long (ms) after it expired by this process's clock. */
const AFTER_EXPIRY_MS = 1;
/** Pause (ms) between tries to replace a holder that a transaction guards: its end is not notified. */
const STEAL_RETRY_MS = 100;
/** Each waiter tries an expired lease so much later than the one before it in the database's queue (ms). */
const AFTER_OTHERS_MS = 50;

/**
 * The waiters of this process for one name, in the order in which they came. Only the head asks the server. An idle
 * queue is kept, because it knows whether other processes compete for the name.
 */
export class WaitQueue implements NameQueue {
  joining: Promise<unknown> | undefined;
  readonly #backend: Backend;
  readonly #state: BackendState;
  readonly #name: string;
  /** Only where the backend keeps no queue, whose order it approximates. */
  readonly #fairness: FairnessYield | undefined;
  #outage: Backoff | undefined;
  #waiters: Waiter[] = [];
  /** Resolves when no waiter is left; `undefined` while there is none. */
  #loop: Promise<void> | undefined;
  /** Whether the name may have become free since the last try. */
  #notified = false;
  #wakeup: Wakeup | undefined;
  /** Whether the last waiter that was granted the lock had to queue in the database: the next one may, too. */
  #wasQueued = false;
  /** The waiter whose request is in flight, and the attempt, which resolves once the answer is handled. */
  #asking: Waiter | undefined;
  #attempt: Promise<void> | undefined;
  /** Whether the database has answered who holds the name, and the error of the last try if that failed. */
  #answered = false;
  #failure: unknown;
  /** How many requests were in the last batch. */
  #batch = 1;
  /** The last known holder, when (ms, monotonic) that was asked, and when its lease expires. */
  #holder: LockRow | undefined;
  #seenAt = -Infinity;
  #retryAt = Infinity;

  constructor(backend: Backend, name: string) {
    this.#backend = backend;
    this.#state = stateOf(backend);
    this.#name = name;
    this.#fairness = backend.queueing ? undefined : new FairnessYield();
  }

  get running(): boolean {
    return this.#loop !== undefined;
  }

  join(request: AcquireRequest, deadline: number, signal?: AbortSignal, onPending?: () => void): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      if (this.#state.ended) return reject(this.#state.ended);
      const waiter = new Waiter(request, deadline, resolve, reject, onPending);
      waiter.onDeadline(() => this.#onDeadline(waiter));
      if (signal) waiter.onAbort(signal, () => (this.#fail(waiter, signal.reason), this.wake()));
      waiter.contended = this.#waiters.length > 0;
      this.#waiters.push(waiter);
      if (this.#waiters[0].pending) waiter.notePending();
      if (!this.#loop) this.#loop = this.#run();
      else if (!waiter.waits) this.wake();
    });
  }

  wake(): void {
    this.#notified = true;
    this.#wakeup?.notify();
  }

  noteRelease(): void {
    this.#fairness?.noteRelease();
    if (!this.#waiters[0]?.kept) this.wake();
  }

  async close(reason: BackendError): Promise<void> {
    for (const waiter of [...this.#waiters]) this.#fail(waiter, reason);
    this.wake();
    await this.#loop;
  }

  /** Serves the waiters until none is left. Nothing is awaited between an answer and the look at who is next. */
  async #run(): Promise<void> {
    this.#notified = true;
    if (this.#wasQueued && this.#waiters[0].waits) {
      // Listening first saves the request that would ask what happened between an answer and the listening.
      await Promise.race([this.#listen(), new Promise<void>(defer)]);
    }
    for (let head = this.#waiters[0]; head !== undefined; head = this.#waiters[0]) {
      await (this.#isTimeToTry(head) ? this.#attempt = this.#try(head) : this.#pause(head));
    }
    this.#reset();
  }

  async #try(head: Waiter): Promise<void> {
    const sent = this.#state.acquire.send(this.#startAttempt(head), false, () => !head.gone);
    if (this.#backend.queueing && head.waits && !head.queued) this.joining = sent;
    try {
      this.#onAnswer(head, await sent);
    } catch (error) {
      this.#onFailure(head, error);
    }
  }

  #isTimeToTry(head: Waiter): boolean {
    if (!head.waits) return true;
    const now = monotonic();
    if (now < this.#yieldUntil(head)) return false;
    return this.#notified || now >= this.#retryAt || now >= head.deadline;
  }

  /** Until when (ms, monotonic) the head leaves the name to other processes. */
  #yieldUntil(head: Waiter): number {
    return head.waits && this.#fairness ? Math.min(this.#fairness.until(), head.deadline) : -Infinity;
  }

  /** Waits for a reason to try again: a notification, the holder's expiry, the head's deadline, or a poll. */
  async #pause(head: Waiter): Promise<void> {
    if (!this.#wakeup) this.#listen();
    const left = this.#yieldUntil(head) - monotonic();
    if (left > 0) return await sleep(left);
    if (this.#notified) return; // the other processes' turn has just ended
    if (await this.#wakeup!.wait(Math.min(this.#retryAt, head.deadline))) this.#notified = true;
  }

  /** Resolves when the backend reports releases of the name. */
  #listen(): Promise<unknown> {
    this.#wakeup = new Wakeup(this.#backend, () => this.wake());
    return this.#wakeup.watch([this.#name]);
  }

  #startAttempt(head: Waiter): AcquireRequest {
    this.#notified = false;
    this.#asking = head;
    for (const waiter of this.#waiters) waiter.asked = true;
    head.firstAskedAt ??= monotonic();
    return head.unanswered ? { ...head.request, repeated: true } : head.request;
  }

  #onAnswer(head: Waiter, { answer, askedAt, repeated, batch }: Answered<AcquireAnswer>): void {
    this.#asking = this.joining = undefined;
    head.unanswered ||= repeated;
    this.#batch = batch;
    this.#answered = true;
    this.#failure = this.#outage = undefined;
    if (answer.granted) this.#onGrant(head, answer, askedAt);
    else this.#onBusy(head, answer, askedAt);
  }

  #onGrant(head: Waiter, { row, session }: AcquireAnswer & { granted: true }, askedAt: number): void {
    const { request } = head;
    const start = leaseStart(request, row, head.firstAskedAt!, askedAt);
    this.#fairness?.noteGrant(row.token);
    this.#wasQueued = head.queued;
    if (head.gone) this.#undo(head, false);
    else {
      this.#remove(head);
      const grant = { backend: this.#backend, claim: claimOf(request), row, askedAt: start, session };
      head.settle({ granted: true, grant, batch: this.#batch, contended: head.contended });
    }
    this.#noteHolder(row, start);
    if (this.#backend.queueing) this.#notified = true; // the next waiter stands in line before the release
    if (request.limit > 1 || this.#waiters.length === 0) return; // others may have it, too
    const now = monotonic();
    for (const waiter of this.#waiters.filter(({ deadline }) => deadline <= now)) this.#giveUp(waiter);
  }

  #onBusy(head: Waiter, { holder, position, kept = false }: BusyAnswer, askedAt: number): void {
    head.contended = true;
    for (const waiter of this.#waiters) waiter.notePending();
    head.queued ||= position !== undefined;
    head.kept = kept;
    if (head.gone) this.#giveBack(head);
    if (holder) this.#fairness?.noteHolder(holder.token);
    this.#noteHolder(holder, askedAt);
    if (position !== undefined) {
      const expiry = (holder ? this.#retryAt : askedAt + AFTER_OTHERS_MS) + (position - 1) * AFTER_OTHERS_MS;
      this.#retryAt = Math.min(kept ? Infinity : expiry, askedAt + head.repeatAfter(holder?.limit ?? 1, position));
    }
    const now = monotonic();
    if (head.request.steal) this.#retryAt = now + STEAL_RETRY_MS;
    for (const waiter of this.#waiters.filter(({ asked, deadline }) => asked && deadline <= now)) this.#giveUp(waiter);
  }

  #onFailure(head: Waiter, error: unknown): void {
    this.#asking = this.joining = undefined;
    if (error === NOT_SENT) return void (this.#giveBack(head), this.wake());
    const now = monotonic();
    const passes = isRetryable(error);
    const { gone } = head;
    head.unanswered ||= isBackendError(error);
    this.#failure = error;
    for (const waiter of this.#waiters.filter(({ asked, deadline }) => asked && !(passes && deadline > now))) {
      this.#fail(waiter, error);
    }
    if (gone) this.#giveBack(head);
    if (this.#waiters[0] === head) this.#retryAt = now + (this.#outage ??= new Backoff(OUTAGE)).next();
    else this.#notified = true;
  }

  #noteHolder(row: LockRow | undefined, askedAt: number): void {
    this.#holder = row;
    this.#seenAt = askedAt;
    this.#retryAt = row === undefined || row.lockedUntil === null
      ? Infinity
      : askedAt + (row.lockedUntil - row.now) / 1e3 + AFTER_EXPIRY_MS;
  }

  /** A wait has ended. The head has a last try; the others get its last answer, if there is one. */
  #onDeadline(waiter: Waiter): void {
    if (this.#waiters[0] !== waiter && this.#answered && this.#failure === undefined) return this.#giveUp(waiter);
    this.wake();
    waiter.after(LAST_ANSWER_MS, () => (this.#fail(waiter, this.#failure ?? noAnswer(this.#name)), this.wake()));
  }

  #fail(waiter: Waiter, reason: unknown): void {
    this.#leave(waiter, () => waiter.fail(reason));
  }

  #giveUp(waiter: Waiter): void {
    const holder = this.#holder && new LockRecord(this.#holder, this.#seenAt);
    const batch = this.#batch;
    this.#leave(waiter, () => waiter.settle({ granted: false, holder, batch, contended: true }));
  }

  /** Removes a waiter without the lock. What it may have been granted is released now, or after the answer; `end` follows. */
  #leave(waiter: Waiter, end: () => void): void {
    this.#remove(waiter);
    const left = this.#asking === waiter ? this.#attempt : this.#giveBack(waiter);
    if (left === undefined || !this.#backend.queueing) end();
    else withDeadline(LEAVE_MS, left.then(() => waiter.undone)).then(end);
  }

  #remove(waiter: Waiter): void {
    waiter.leave();
    if (this.#waiters[0] === waiter) return void this.#waiters.shift();
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
  }

  /** Releases what a waiter may have been granted, or its place in the database's queue. */
  #giveBack(waiter: Waiter): Promise<void> | undefined {
    return waiter.unanswered || waiter.queued ? this.#undo(waiter, waiter.unanswered) : undefined;
  }

  #undo(waiter: Waiter, unanswered: boolean): Promise<void> {
    const { name, owner, duration, window = 0 } = waiter.request;
    // it may be granted after it has waited for so long
    const longest = duration === null ? null : duration + window;
    return waiter.undone = this.#state.undo.add({ name, owner }, longest, unanswered);
  }

  /** Forgets everything but whether other processes compete. */
  #reset(): void {
    this.#wakeup?.close();
    this.#wakeup = this.#loop = this.#attempt = undefined;
    this.#holder = this.#failure = this.#outage = undefined;
    this.#answered = false;
    this.#retryAt = Infinity;
  }
}

/** Returns the queue for a name, which is made if there is none. */
export function queueFor(backend: Backend, name: string): NameQueue {
  const { queues } = stateOf(backend);
  let queue = queues.get(name);
  if (queue === undefined) queues.set(name, queue = new WaitQueue(backend, name));
  return queue;
}
