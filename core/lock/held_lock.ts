import type { Backend, LockRow, OwnedLock, RenewRequest, SessionHandle } from "../backend.ts";
import { LockLost } from "../errors.ts";
import { isLossObserved, isTraced, publishLoss, traced } from "../events/channels.ts";
import type { LockTrace } from "../events/events.ts";
import { quoted } from "../events/invisible.ts";
import type { Grant } from "../grant.ts";
import { withDeadline } from "../util/deadline.ts";
import { monotonic, warn } from "../util/runtime.ts";
import { type BackendState, stateOf } from "../wait/backend_state.ts";
import type { Answered } from "../wait/batcher.ts";
import { isExtended, localDeadline } from "./lease.ts";
import type { Known } from "./lock_record.ts";
import { nextRenewal, type Renewable, renewalInterval, track, untrack } from "./renewer.ts";

/**
 * How long (ms) a release waits until the next waiter has joined the queue: before that others could overtake it. A busy
 * server takes over 250 ms to answer.
 */
const JOINING_MS = 1_000;

/** A handle with `autoRenew` that the program dropped cannot release its lock: the renewal ends, and the lock expires. */
const renewedHandles = new FinalizationRegistry<HeldLock>((held) => {
  if (!held.stopRenewing()) return;
  const reason = "its handle was garbage collected without a release";
  const wanted = "a reference to the handle for as long as the lock is needed, and unlock() or `await using` to end it";
  warn(new Error(`Stopped renewing lock ${JSON.stringify(held.claim.name)}: ${reason}; want ${wanted}`));
});

/** The losses that the program caused: no failure, and no reason to undo what was done under the lock. */
const intended = new WeakSet<LockLost>();

/** Whether a lock ended because the program detached it, or disposed of its backend. */
export function endedByProgram(loss: LockLost): boolean {
  return intended.has(loss);
}

/** One acquisition as this process may believe in it: held until it is released or lost. */
export class HeldLock implements Renewable {
  readonly backend: Backend;
  claim: OwnedLock;
  /** What is known of the acquisition, shared with its handle. */
  readonly known: Known;
  renewAt = Infinity;

  readonly #state: BackendState;
  readonly #session: SessionHandle | undefined;
  #status: "held" | "releasing" | "released" | "lost" = "held";
  #renewBy: number | undefined;
  #loss: LockLost | undefined;
  #controller: AbortController | undefined;
  #wanted: AbortController | undefined;
  /** Whether a loss must be noticed although no caller asks. */
  #watched = false;
  #releasing: Promise<boolean> | undefined;
  #stopListening: (() => void) | undefined;
  /** How many renewals are under way, and whether one had no answer: each may extend the lease after this process lost it. */
  #renewing = 0;
  #maybeRenewed = false;
  /** Whether a release had no answer: it is repeated in the background, and may have taken effect. */
  #maybeReleased = false;

  constructor(grant: Grant, known: Known, renewBy: number | undefined) {
    this.backend = grant.backend;
    this.claim = grant.claim;
    this.known = known;
    this.#session = grant.session;
    this.#renewBy = renewBy;
    this.#state = stateOf(this.backend);
    this.#state.addHeld(this);
    if (this.#state.ended) { // the lock was granted before its backend was disposed of
      const claim = this.endWithBackend();
      if (claim) this.#state.undo.add(claim, null, false);
    } else if (renewBy !== undefined && this.#status === "held") {
      this.renewAt = grant.askedAt + renewalInterval(this);
      track(this);
    }
    if (isLossObserved()) this.#watch();
  }

  get token(): bigint {
    return this.known.row.token;
  }

  get renewBy(): number | undefined {
    return this.#renewBy;
  }

  get deadline(): number {
    return localDeadline(this.known.row, this.known.askedAt);
  }

  get held(): boolean {
    this.#checkExpiry();
    return this.#status === "held";
  }

  /** Why it was lost; `undefined` when it was not. */
  get loss(): LockLost | undefined {
    this.#checkExpiry();
    return this.#loss;
  }

  /** Aborts when the lock is lost. Made on first use: a lock without listeners needs no timer. */
  get signal(): AbortSignal {
    this.#checkExpiry(); // the event loop may not have run since the lease expired
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#loss) this.#controller.abort(this.#loss);
      else this.#watch();
    }
    return this.#controller.signal;
  }

  /** Aborts when an answer says that another client waits for the name. */
  get wanted(): AbortSignal {
    this.#wanted ??= new AbortController();
    this.#noteWaiters();
    return this.#wanted.signal;
  }

  #noteWaiters(): void {
    if (this.known.row.waiters) {
      this.#wanted?.abort(new Error(`Another client waits for lock ${quoted(this.claim.name)}`));
    }
  }

  #watch(): void {
    if (this.#watched || this.#status !== "held") return;
    this.#watched = true;
    track(this);
    this.#stopListening = this.#session?.onEnd(() => this.#checkExpiry());
  }

  /** Lets the release free the name at once. */
  dropMinimum(): void {
    const { name, owner } = this.claim;
    this.claim = { name, owner };
  }

  /** Renews only as long as the program keeps the handle. */
  renewFor(handle: object): void {
    if (this.#status === "held") renewedHandles.register(handle, this, this);
  }

  /** Ends the automatic renewal; returns whether the lock was still held. */
  stopRenewing(): boolean {
    const { held } = this;
    this.#renewBy = undefined;
    this.renewAt = Infinity;
    if (!this.#watched) untrack(this);
    return held;
  }

  /** Notices that the lease has expired, or the session has ended. */
  #checkExpiry(): void {
    if (this.#status !== "held") return;
    if (this.#session?.ended) {
      this.lose(this.#session.reason ?? "the session that carried it has ended", this.#session.ended);
    } else if (monotonic() >= this.deadline) this.lose("its lease expired before the database confirmed a renewal");
  }

  renew(request: RenewRequest, together = false): Promise<Answered<LockRow | undefined>> {
    return this.#traced("renew", async (event) => {
      this.#renewing++;
      try {
        const first = await this.#state.renew.send(request, together);
        const mayWait = !together && first.batch > 1; // for the row of this lock, which is free again soon
        const answered = mayWait && first.answer && !isExtended(request, first.answer, first.askedAt)
          ? await this.#state.renew.sendAlone(request)
          : first;
        if (event) Object.assign(event, { outcome: answered.answer ? "renewed" : "gone", batch: answered.batch });
        return answered;
      } catch (error) {
        this.#maybeRenewed = true;
        throw error;
      } finally {
        this.#renewing--;
      }
    });
  }

  #traced<T>(verb: "renew" | "release", work: (event?: LockTrace) => Promise<T>): Promise<T> {
    return traced(verb, this.backend, this.claim.name, work, this.token);
  }

  confirm(row: LockRow, askedAt: number): void {
    if (this.#status !== "held") return;
    this.known.learn(row, askedAt);
    this.#noteWaiters();
    if (this.#renewBy !== undefined) this.renewAt = Math.min(this.renewAt, nextRenewal(this, askedAt));
    if (this.#watched || this.#renewBy !== undefined) track(this);
  }

  /** Ends it as lost, and signals that. While it is being released, only the release can tell that it was gone before. */
  lose(reason: string, cause?: unknown): void {
    if (this.#status === "held") this.#lose(reason, cause);
  }

  #lose(reason: string, cause?: unknown): void {
    this.#status = "lost";
    this.#loss = new LockLost(this.claim.name, reason, cause === undefined ? undefined : { cause });
    this.#stopWatching();
    if (this.#mayLastLonger) this.#state.undo.add(this.claim, null, true);
    this.#controller?.abort(this.#loss);
    if (isLossObserved()) publishLoss(this.backend, this.claim.name, this.token, reason);
  }

  endWithBackend(): OwnedLock | undefined {
    return this.#end("its backend was disposed of", "disposed");
  }

  /** Whether a renewal may have extended the lease beyond what is known. */
  get #mayLastLonger(): boolean {
    return this.#renewing > 0 || this.#maybeRenewed;
  }

  /** Ends the lock here without a release; returns the right to it, `undefined` if it is not held. */
  detach(): OwnedLock | undefined {
    return this.#end("it was detached", "detached");
  }

  #end(reason: string, outcome: "disposed" | "detached"): OwnedLock | undefined {
    this.#checkExpiry();
    if (this.#status !== "held") return undefined;
    this.#status = "released";
    this.#loss = new LockLost(this.claim.name, reason);
    intended.add(this.#loss);
    this.#stopWatching();
    this.#controller?.abort(this.#loss);
    this.#traced("release", (event) => {
      if (event) event.outcome = outcome;
      return Promise.resolve();
    });
    return this.claim;
  }

  /** Releases the lock if it is still this acquisition's; returns whether it was. */
  release(): Promise<boolean> {
    if (this.#releasing) return this.#releasing;
    if (this.#status === "released" || (this.#status === "lost" && this.#state.ended)) return Promise.resolve(false);
    if (this.#watched || this.#session?.ended) this.#checkExpiry(); // a loss before the release is signalled
    if (this.#status === "held") this.#status = "releasing";
    this.#stopWatching();
    const send = (event?: LockTrace) => this.#state.track(this.#sendRelease(event)); // a disposal waits for it
    return this.#releasing = isTraced("release") ? this.#traced("release", send) : send();
  }

  async #sendRelease(event?: LockTrace): Promise<boolean> {
    const joining = this.#state.queues.get(this.claim.name)?.joining;
    if (joining) await withDeadline(JOINING_MS, joining).catch(() => {}); // its waiter is told of a failure
    try {
      const { answer, repeated, batch } = await this.#state.release.send(this.claim);
      // Gone when asked again while the lease runs: the first request took effect, and only its answer was lost. With a
      // session that has ended it may have been gone before, and another client may hold the name.
      const released = answer || ((repeated || this.#maybeReleased) && this.#status === "releasing" &&
        monotonic() < this.deadline && !this.#session?.ended);
      if (event) Object.assign(event, { outcome: released ? "released" : "gone", batch });
      if (this.#status === "releasing") {
        if (released) this.#status = "released";
        else this.#lose("it was gone when it was to be released");
      }
      if (released) this.#state.queues.get(this.claim.name)?.noteRelease();
      return released;
    } catch (error) {
      this.#maybeReleased = true;
      const left = this.#mayLastLonger ? Infinity : Math.max(this.deadline - monotonic(), 0) * 1e3;
      this.#state.undo.add(this.claim, left === Infinity ? null : left, this.#mayLastLonger);
      throw error;
    } finally {
      this.#releasing = undefined;
    }
  }

  #stopWatching(): void {
    untrack(this);
    renewedHandles.unregister(this); // it keeps this lock, and through the signals the handle
    this.#state.held.delete(this);
    this.#stopListening?.();
    this.#stopListening = undefined;
  }
}
