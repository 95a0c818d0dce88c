import type { AcquireAnswer, AcquireRequest, Backend, LockRow } from "../backend.ts";
import type { Asker } from "./asker.ts";
import type { BackendState } from "./backend_state.ts";
import { Wakeup } from "./wakeup.ts";
import { Waiter } from "./waiter.ts";
import { FairnessYield } from "./fairness_yield.ts";
import { BackendError } from "../errors.ts";
import { LockRecord } from "../lock/lock_record.ts";
import { isBackendError, isRetryable, leaseStart } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";
import type { Outcome } from "./acquire_in_order.ts";

/** A waiter lives through errors that may pass, and tries again after a pause (ms) that grows by half each time. */
const OUTAGE_PAUSE_FIRST_MS = 100;
const OUTAGE_PAUSE_LONGEST_MS = 1_000;
/** How long a question may still be unanswered when the wait of its caller is over (ms): a slow commit, and no more. */
const LAST_ANSWER = 2_000;
/** A lease is tried again so long after it lapsed by this process's reckoning (ms). */
const AFTER_EXPIRY = 1;

/**
 * Those of this process who want one name, in the order in which they came. Only the first asks the server. Empty, it
 * is kept for the next who come, with what this process remembers of others that want the same name.
 */
export class WaitQueue implements Asker<AcquireRequest, AcquireAnswer> {
  readonly #backend: Backend;
  readonly #batches: BackendState;
  readonly #name: string;
  #callers: Waiter[] = [];
  #running = false;
  #rung = false;
  #bell: Wakeup | undefined;
  /** The question under way, or the last one, and for whom and when (ms, monotonic) it was asked. */
  #request: AcquireRequest | undefined;
  #head: Waiter | undefined;
  #askedAt = -Infinity;
  /** Whether a question is under way. */
  #asking = false;
  /** Whether the database has said who holds the name, and why it could not be asked since. */
  #answered = false;
  #failure: unknown;
  #outagePause = OUTAGE_PAUSE_FIRST_MS;
  /** The lock in the way as last seen, and when it lapses by this process's reckoning (ms, monotonic). */
  #holder: LockRow | undefined;
  #seenAt = -Infinity;
  #freeAt = Infinity;
  readonly #courtesy = new FairnessYield();
  #idle: (() => void) | undefined;

  constructor(backend: Backend, batches: BackendState, name: string) {
    this.#backend = backend;
    this.#batches = batches;
    this.#name = name;
  }

  /** Whether somebody is in line, or a question is under way. */
  get running(): boolean {
    return this.#running;
  }

  /** Puts a caller at the end; the promise has its outcome. */
  join(request: AcquireRequest, deadline: number, signal?: AbortSignal): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      if (this.#batches.ended) return reject(this.#batches.ended);
      const caller = new Waiter(request, deadline, resolve, reject);
      if (caller.waits) caller.limit(() => this.#over(caller));
      if (signal) caller.listen(signal, () => (this.#fail(caller, signal.reason), this.wake()));
      if (this.#callers.length > 0) this.#callers.push(caller);
      else this.#callers = [caller];
      if (!this.#running) this.#run();
      else if (!caller.waits) this.wake();
    });
  }

  /** The name may be free by now: the head tries again. */
  wake(): void {
    this.#rung = true;
    this.#bell?.ring();
  }

  /** This process has released the name: the next in line may go on. */
  noteRelease(): void {
    this.#courtesy.noteRelease();
    this.wake();
  }

  /** Ends every wait for a reason; resolves when no question is under way any more. */
  close(reason: BackendError): Promise<void> {
    for (const caller of [...this.#callers]) this.#fail(caller, reason);
    this.wake();
    return this.#running ? new Promise((resolve) => this.#idle = resolve) : Promise.resolve();
  }

  /** A caller's wait is over. The head has one last try; the others have its last answer, if there is one. */
  #over(caller: Waiter): void {
    if (this.#callers[0] !== caller && this.#answered && this.#failure === undefined) return this.#giveUp(caller);
    this.wake();
    caller.after(LAST_ANSWER, () => (this.#fail(caller, this.#failure ?? this.#silence()), this.wake()));
  }

  #fail(caller: Waiter, reason: unknown): void {
    this.#part(caller);
    caller.fail(reason);
  }

  #giveUp(caller: Waiter): void {
    const holder = this.#holder && new LockRecord(this.#holder, this.#seenAt);
    this.#part(caller);
    caller.settle({ granted: false, holder });
  }

  /** A caller goes without the lock: what may have been granted for it is released, at once or after the answer. */
  #part(caller: Waiter): void {
    this.#strike(caller);
    if (caller.unheard && !(this.#asking && this.#head === caller)) this.#undo(caller.request, true);
  }

  #strike(caller: Waiter): void {
    if (this.#callers[0] === caller) return void this.#callers.shift();
    const index = this.#callers.indexOf(caller);
    if (index >= 0) this.#callers.splice(index, 1);
  }

  #run(): void {
    this.#running = true;
    this.#rung = true;
    this.#serve();
  }

  /** Serves the head, and whoever is the head then, until nobody is left. */
  #serve(): void {
    const head = this.#callers[0];
    if (head === undefined) this.#end();
    else if (this.#isTimeToTry(head)) this.#try(head);
    else this.#pause(head).then(() => this.#serve());
  }

  /** Forgets everything but the rivals: whoever comes next begins anew. */
  #end(): void {
    this.#bell?.close();
    this.#bell =
      this.#request =
      this.#head =
      this.#holder =
        undefined;
    this.#freeAt = Infinity;
    this.#answered = false;
    this.#failure = undefined;
    this.#outagePause = OUTAGE_PAUSE_FIRST_MS;
    this.#running = false;
    this.#idle?.();
  }

  /** Until when (ms, monotonic) the head holds back so that other processes get their turn. */
  #holdBackUntil(head: Waiter): number {
    return head.waits ? Math.min(this.#courtesy.until(), head.deadline) : -Infinity;
  }

  #isTimeToTry(head: Waiter): boolean {
    if (!head.waits) return true;
    const now = monotonic();
    if (now < this.#holdBackUntil(head)) return false;
    return this.#rung || now >= this.#freeAt || now >= head.deadline;
  }

  /** Waits for a reason to try again: a wake-up, the holder's expiry, the end of the head's wait, or the poll. */
  async #pause(head: Waiter): Promise<void> {
    const bell = this.#bell ??= new Wakeup(this.#backend, this.#name, () => this.wake());
    const holdBack = this.#holdBackUntil(head);
    if (holdBack > monotonic()) return await bell.holdBack(holdBack);
    if (this.#rung) return; // the courtesy ended between the question and this answer
    if (await bell.pause(Math.min(this.#freeAt, head.deadline))) this.#rung = true;
  }

  /** One attempt of the head; everybody whose question it answers gets the answer. */
  #try(head: Waiter): void {
    this.#rung = false;
    this.#head = head;
    this.#request = head.unheard ? { ...head.request, repeated: true } : head.request;
    for (const caller of this.#callers) caller.asked = true;
    this.#asking = true;
    this.#batches.acquire.send(this);
  }

  /** The question under way. */
  get request(): AcquireRequest {
    return this.#request!;
  }

  /** What is left is counted by the server when it answers: from before the question that this was the answer to. */
  sent(at: number): void {
    this.#askedAt = at;
    this.#head!.firstAskedAt ??= at;
  }

  /** The question is asked a second time: the first may have been granted in an answer that was lost. */
  repeats(): void {
    this.#head!.unheard = true;
    this.#request = { ...this.#request!, repeated: true };
  }

  /** The database has answered the question under way. */
  answered(answer: AcquireAnswer): void {
    const head = this.#head!;
    this.#asking = false;
    this.#failure = undefined;
    this.#outagePause = OUTAGE_PAUSE_FIRST_MS;
    try {
      if (answer.granted) this.#grant(head, answer);
      else this.#busy(head, answer.holder);
    } catch (error) {
      this.#noAnswer(head, error);
    }
    this.#serve();
  }

  /** There is no answer to the question under way. */
  failed(error: unknown): void {
    this.#asking = false;
    this.#noAnswer(this.#head!, error);
    this.#serve();
  }

  #grant(head: Waiter, { row, session }: AcquireAnswer & { granted: true }): void {
    const { request } = head;
    const askedAt = leaseStart(request, row, head.firstAskedAt!, this.#askedAt);
    this.#courtesy.noteGrant(row.token);
    if (head.gone) this.#undo(request, false);
    else {
      const claim = { name: request.name, owner: request.owner };
      this.#strike(head);
      head.settle({ granted: true, grant: { backend: this.#backend, claim, row, askedAt, session } });
    }
    if (this.#callers.length === 0) return;
    const now = monotonic();
    this.#answered = true;
    this.#remember(row, askedAt);
    for (const caller of this.#callers.filter(({ deadline }) => deadline <= now)) this.#giveUp(caller);
  }

  #busy(head: Waiter, holder: LockRow | undefined): void {
    const now = monotonic();
    this.#answered = true;
    if (head.gone && head.unheard) this.#undo(head.request, true);
    if (holder) this.#courtesy.noteHolder(holder.token);
    this.#remember(holder, this.#askedAt);
    for (const caller of [...this.#callers]) {
      if (caller.asked && caller.deadline <= now) this.#giveUp(caller);
    }
  }

  #noAnswer(head: Waiter, error: unknown): void {
    const now = monotonic();
    const passing = isRetryable(error);
    const { gone } = head;
    head.unheard ||= isBackendError(error);
    this.#failure = error;
    for (const caller of [...this.#callers]) {
      if (caller.asked && !(passing && caller.deadline > now)) this.#fail(caller, error);
    }
    if (gone && head.unheard) this.#undo(head.request, true);
    if (this.#callers[0] === head) {
      this.#freeAt = now + this.#outagePause * (0.5 + Math.random() / 2);
      this.#outagePause = Math.min(this.#outagePause * 1.5, OUTAGE_PAUSE_LONGEST_MS);
    } else this.#rung = true;
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

  /** Releases what was granted, or may have been, to a caller who goes without it. */
  #undo(request: AcquireRequest, unheard: boolean): void {
    this.#batches.undoing.undo(request, request.duration, unheard);
  }
}
