import type { Backend, LockRow, OwnedLock, RenewRequest, SessionHandle } from "../backend.ts";
import { type BackendState, backendState } from "../wait/backend_state.ts";
import { LockLost } from "../errors.ts";
import { keep, leave } from "./renewer.ts";
import type { Known } from "./lock_record.ts";
import { retryOnce } from "../util/retry.ts";
import { monotonic } from "../util/runtime.ts";
import { Releasing } from "../wait/releasing.ts";

/**
 * How much earlier than the server this process gives up a lease: a share of what is left, for clocks that drift, at
 * least what a timer is late on a busy machine (ms), and at most a second (ms).
 */
const MARGIN_SHARE = 0.01;
const MARGIN_LEAST_MS = 5;
const MARGIN_MOST_MS = 1_000;
/** An answer that came late in a lease is followed by a renewal after this share of the interval at the earliest. */
const RETRY_SHARE = 0.25;

/**
 * The time on the monotonic clock (ms) after which a lease can no longer be believed. Measured from *before* the
 * request was sent: the server's own count began later.
 */
function deadlineOf({ row, askedAt }: Known): number {
  if (row.lockedUntil === null) return Infinity;
  const left = (row.lockedUntil - row.now) / 1e3;
  return askedAt + left - Math.min(Math.max(left * MARGIN_SHARE, MARGIN_LEAST_MS), MARGIN_MOST_MS);
}

/**
 * What was granted: the row, when it was asked for, and the session it rides on, if any.
 *
 * @example
 * ```ts
 * import { connect, getLock, type Grant, Lock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * const [row] = await backend.list({ names: ["jobs"] });
 * const grant: Grant = { backend, claim: { name: "jobs", owner: "unknown" }, row, askedAt: performance.now() };
 * assert.equal(new Lock(grant).token, lock.token);
 * ```
 */
export interface Grant {
  /** The backend that granted it. */
  readonly backend: Backend;
  /** The name and owner to name in every later request. */
  readonly claim: OwnedLock;
  /** The row as granted. */
  readonly row: LockRow;
  /** Monotonic time (ms) before the request that granted it was sent. */
  readonly askedAt: number;
  /** The session that keeps it. */
  readonly session?: SessionHandle;
}

/** The losses that are disposals of a backend: no failure, and no reason to undo what was done under the lock. */
const disposals = new WeakSet<LockLost>();

/** Whether a lock ended with the disposal of its backend. */
export function endedByDisposal(loss: LockLost): boolean {
  return disposals.has(loss);
}

/** One acquisition as this process may believe in it: held until it is released, or lost for good. */
export class HeldLock {
  /** The backend that granted it. */
  readonly backend: Backend;
  /** The name and owner that every request names. */
  readonly claim: OwnedLock;
  /** What is known of the acquisition, shared with its handle. */
  readonly known: Known;
  /** When the keeper shall renew it next, on the monotonic clock (ms). */
  renewAt = Infinity;
  /** The neighbours in the list of what is held through the backend. */
  before: HeldLock | undefined;
  after: HeldLock | undefined;

  #state: "held" | "leaving" | "released" | "lost" = "held";
  #renewBy: number | undefined;
  #session: SessionHandle | undefined;
  #loss: LockLost | undefined;
  #controller: AbortController | undefined;
  #releasing: Promise<boolean> | undefined;
  /** Whether a renewal that was to make the lock permanent had no answer. */
  #maybePermanent = false;
  readonly #batches: BackendState;
  #stopListening: (() => void) | undefined;

  constructor(grant: Grant, known: Known, renewBy: number | undefined) {
    this.backend = grant.backend;
    this.claim = grant.claim;
    this.known = known;
    this.#renewBy = renewBy;
    this.#session = grant.session;
    this.#batches = backendState(this.backend);
    this.#batches.held.add(this);
    if (this.#batches.ended) this.#cameTooLate();
    else if (renewBy !== undefined) {
      this.renewAt = grant.askedAt + this.renewEvery;
      keep(this);
    }
  }

  /** Microseconds that each renewal asks for; `undefined` when it is not renewed automatically. */
  get renewBy(): number | undefined {
    return this.#renewBy;
  }

  /** Ends the automatic renewal; answers whether it was still needed. */
  stopRenewing(): boolean {
    const { held } = this;
    this.#renewBy = undefined;
    this.renewAt = Infinity;
    if (this.#controller === undefined) leave(this);
    return held;
  }

  /** Granted before its backend was disposed of, and seen here only now. */
  #cameTooLate(): void {
    const claim = this.endWithBackend();
    if (claim) this.#batches.undoing.undo(claim, null, false);
  }

  /** Milliseconds between renewals: a third of the lease, so that two may fail before it lapses. */
  get renewEvery(): number {
    return this.#renewBy! / 3e3;
  }

  /** When the lease can no longer be believed, on the monotonic clock (ms). */
  get deadline(): number {
    return deadlineOf(this.known);
  }

  /** Whether this process may act as the holder right now. */
  get held(): boolean {
    this.#look();
    return this.#state === "held";
  }

  /** Why it was lost; `undefined` when it was not. */
  get loss(): LockLost | undefined {
    this.#look();
    return this.#loss;
  }

  /** Aborts when the lock is lost. Made on first use: a lock that nobody listens to needs no timer. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      this.#look();
      if (this.#loss) this.#controller.abort(this.#loss);
      else if (this.#state === "held") {
        keep(this);
        this.#stopListening = this.#session?.onEnd(() => this.#look());
      }
    }
    return this.#controller.signal;
  }

  /** Notices what time or the session has decided meanwhile. */
  #look(): void {
    if (this.#state !== "held") return;
    if (this.#session?.ended) {
      this.lose(this.#session.reason ?? "the session that kept it has ended", this.#session.ended);
    } else if (monotonic() >= this.deadline) this.lose("its lease ran out before the database confirmed more time");
  }

  /** Asks the backend something that may be asked again. */
  ask<T>(request: () => Promise<T>, onRepeat?: () => void): Promise<T> {
    return retryOnce(request, onRepeat);
  }

  /** Asks for more time, with others that ask at the same moment. */
  async renew(request: RenewRequest, sent: (at: number) => void): Promise<LockRow | undefined> {
    try {
      return await this.#batches.renew.ask(request, sent);
    } catch (error) {
      this.#maybePermanent ||= request.add === null;
      throw error;
    }
  }

  /** Takes in a newer answer about this acquisition. */
  confirm(row: LockRow, askedAt: number): void {
    if (this.#state !== "held") return;
    this.known.learn(row, askedAt);
    if (this.renewBy !== undefined) this.renewAt = Math.min(this.renewAt, this.#nextRenewal(askedAt));
    if (this.#controller || this.renewBy !== undefined) keep(this);
  }

  /**
   * When to renew next: while two thirds of a lease are left, as the row has it. An answer that gave no more time (a
   * mere look, or a row that a guarded transaction keeps) must not put the renewal off.
   */
  #nextRenewal(askedAt: number): number {
    const due = Math.min(askedAt + this.renewEvery, this.deadline - 2 * this.renewEvery);
    return Math.max(due, monotonic() + this.renewEvery * RETRY_SHARE);
  }

  /** Gives the lock up for lost; an ordinary release is no loss. */
  lose(reason: string, cause?: unknown): void {
    if (this.#state !== "held" && this.#state !== "leaving") return;
    this.#state = "lost";
    this.#loss = new LockLost(this.claim.name, reason, cause === undefined ? undefined : { cause });
    this.#settle();
    if (this.#maybePermanent) this.#batches.undoing.undo(this.claim, null, true);
    this.#controller?.abort(this.#loss);
  }

  /**
   * Ends with its backend: nobody may act as the holder any more, and what is left to do is the backend's.
   *
   * @returns The acquisition to release; `undefined` when it was lost or is being released already.
   */
  endWithBackend(): OwnedLock | undefined {
    this.#look();
    if (this.#state !== "held") return undefined;
    this.#state = "released";
    this.#loss = new LockLost(this.claim.name, "its backend was disposed of");
    disposals.add(this.#loss);
    this.#settle();
    this.#controller?.abort(this.#loss);
    return this.claim;
  }

  /** The release under way. */
  get releasing(): Promise<boolean> | undefined {
    return this.#releasing;
  }

  /** Frees the lock if it is still this acquisition's; a second call finds it gone. */
  release(): Promise<boolean> {
    if (this.#releasing) return this.#releasing;
    if (this.#state === "released" || (this.#state === "lost" && this.#batches.ended)) return Promise.resolve(false);
    if (this.#controller || this.#session) this.#look(); // who listens is told of a loss before
    if (this.#state === "held") this.#state = "leaving";
    this.#settle();
    const releasing = new Releasing(this, this.#batches);
    this.#releasing = releasing.outcome;
    releasing.send();
    return releasing.outcome;
  }

  /** A release ended without an answer: it may be called again. */
  notReleased(): void {
    this.#releasing = undefined;
  }

  /** What the database answered to a release means: whether this acquisition was held until then. */
  releasedAs(answer: boolean, repeated: boolean): boolean {
    this.#releasing = undefined;
    // Gone at the second asking, with the lease still running: the first took effect and only its answer was lost.
    // Where a session ended it may have been gone before the first: another may have the name since.
    const released = answer ||
      (repeated && this.#state === "leaving" && monotonic() < this.deadline && !this.#session?.ended);
    if (!released) this.lose("it was gone when it was to be released");
    else if (this.#state === "leaving") this.#state = "released";
    return released;
  }

  /** Nobody needs to watch over it any more. */
  #settle(): void {
    leave(this);
    this.#batches.held.remove(this);
    this.#stopListening?.();
    this.#stopListening = undefined;
  }
}
