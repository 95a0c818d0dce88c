/**
 * The one seam between the core and an engine. It speaks of locks, never of SQL: a backend decides atomically which
 * owner holds a name; waiting, the timing of renewals, errors and policy live in the core.
 *
 * Every request ends in one of three ways: it took effect; it did not and never will; or that is unknown, which an
 * engine reports by a retryable `BackendError`. After an unknown outcome the core sends the request again with
 * `repeated`, as long as its caller waits for it, or releases the lock before its caller is told an outcome that another
 * client could contradict. So an engine answers "not granted" to a repeated request only when the earlier one cannot
 * take effect any more. Its `[Symbol.asyncDispose]` is a call of `closeLocks`.
 *
 * @module
 */
import type { Diagnostic, LockActivity } from "./diagnostics.ts";
import type { LockRow, Mode } from "./lock_row.ts";
export type { Diagnostic, LockActivity, ServerConnection } from "./diagnostics.ts";
export type { GuardClient } from "./guard_client.ts";
export type { Json, LockRow, Mode, WaiterRow } from "./lock_row.ts";

/**
 * One atomic attempt to acquire one name.
 *
 * @example
 * ```ts
 * import { type AcquireRequest, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const holder = { owner: crypto.randomUUID(), lockedBy: "host-a", lockProcess: null };
 * const request: AcquireRequest = { name: "jobs", ...holder, duration: 60e6, metadata: null, limit: 1 };
 * const [answer] = await backend.acquire([request]);
 * assert(answer.granted);
 * ```
 */
export interface AcquireRequest {
  /** The name. */
  readonly name: string;
  /** Unguessable, and new for every acquisition; the same only when a request is repeated after a lost answer. */
  readonly owner: string;
  /** Microseconds until the lease expires; `null` is never. */
  readonly duration: number | null;
  /** The holder's name for people. */
  readonly lockedBy: string;
  /** A number for people. */
  readonly lockProcess: number | null;
  /** JSON text to store with the lock. */
  readonly metadata: string | null;
  /** How many holders may have the name at once: 1 is exclusive, `Infinity` shared. Other than 1 with `queueing` only. */
  readonly limit: number;
  /**
   * Microseconds for which a waiter stays in the queue of a held name. A repeated request stays there for longer, or
   * extends what a release has granted it meanwhile to its whole duration. Without a window the request does not wait. On
   * a backend with `queueing` only.
   */
  readonly window?: number;
  /**
   * When the caller came, by `performance.now()` of this process (ms): before its request was first sent it may have
   * waited behind others of its process. It enters the queue before those that came later. A backend may ignore it.
   */
  readonly cameAt?: number;
  /** Replaces every holder and overtakes the waiters, on a backend with `queueing`. @default false */
  readonly steal?: boolean;
  /**
   * The lock is to be released with this as `keep`. It must outlive its holder: in `hybrid` mode it is a lease. On a
   * backend with `keeping` only.
   */
  readonly keep?: number;
  /**
   * Whether an earlier request of this owner may still take effect, because its answer was lost. Then a row that another
   * transaction has locked is a retryable `BackendError`, not held; and a row of this owner is granted again.
   */
  readonly repeated?: boolean;
}

/**
 * The server session that carries a lock: when it ends, the lock is gone.
 *
 * @example
 * ```ts
 * import { type SessionHandle } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const immortal: SessionHandle = { ended: undefined, onEnd: () => () => {} };
 * assert.equal(immortal.ended, undefined);
 * ```
 */
export interface SessionHandle {
  /** Why it ended; `undefined` while it is alive. */
  readonly ended: Error | undefined;
  /** The same as a clause, for the error of a lost lock. @default "the session that carried it has ended" */
  readonly reason?: string;
  /** Calls `listener` once when it ends; returns a function that removes it. */
  onEnd(listener: () => void): () => void;
}

/**
 * The result of an attempt: the row and the session that carries the lock, if any; or the holder, if it is known.
 *
 * @example
 * ```ts
 * import { type AcquireAnswer, connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend, lockedBy: "host-a" });
 * const holder = { owner: "b", lockedBy: "host-b", lockProcess: null };
 * const request = { name: "jobs", ...holder, duration: 60e6, metadata: null, limit: 1 };
 * const answer: AcquireAnswer = (await backend.acquire([request]))[0];
 * assert(!answer.granted && answer.holder?.lockedBy === "host-a");
 * ```
 */
export type AcquireAnswer =
  | { readonly granted: true; readonly row: LockRow; readonly session?: SessionHandle }
  | {
    readonly granted: false;
    /** Of several holders the one whose lease ends first. */
    readonly holder: LockRow | undefined;
    /** The request's place in the queue, 1 for the next. It is absent if the request has not entered the queue. */
    readonly position?: number;
    /**
     * Whether the place is kept without a repeated request, for as long as the name is watched: the backend calls `wake`
     * when the request is to be repeated, also when the holder's lease has expired.
     */
    readonly kept?: boolean;
  };

/**
 * One acquisition: its name and its owner.
 *
 * @example
 * ```ts
 * import { type OwnedLock, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock: OwnedLock = { name: "jobs", owner: "an owner that was never granted anything" };
 * assert.deepEqual(await backend.release([lock]), [false]);
 * ```
 */
export interface OwnedLock {
  /** The name. */
  readonly name: string;
  /** The owner of the request that acquired it. */
  readonly owner: string;
  /** See {@linkcode LockRef.keep}. */
  readonly keep?: number;
}

/**
 * The next holder of a lock that changes its owner.
 *
 * @example
 * ```ts
 * import { connect, type NextHolder } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const request = { name: "jobs", owner: "a", lockedBy: "host-a", lockProcess: null, metadata: null, limit: 1 };
 * await backend.acquire([{ ...request, duration: 60e6 }]);
 * const next: NextHolder = { owner: "b", lockedBy: "host-b", lockProcess: 71 };
 * await backend.adopt!({ name: "jobs", owner: "a" }, next);
 * assert.deepEqual(await backend.release([{ name: "jobs", owner: "a" }]), [false]);
 * assert.deepEqual(await backend.release([{ name: "jobs", owner: "b" }]), [true]);
 * ```
 */
export type NextHolder = Pick<AcquireRequest, "owner" | "lockedBy" | "lockProcess">;

/**
 * Which lock to renew or release: one acquisition, by owner or by token; or with `owner: null` the lock of any holder.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockRef } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const { token } = await getLock("jobs", { backend });
 * const lock: LockRef = { name: "jobs", owner: token };
 * assert.deepEqual(await backend.release([lock]), [true]);
 * ```
 */
export interface LockRef {
  /** The name. */
  readonly name: string;
  /** The owner of the acquisition (a string), or its token (a `bigint`); `null` means any holder. */
  readonly owner: string | bigint | null;
  /**
   * Of a release by owner: microseconds after the acquisition until which the name stays unavailable, as if it were held
   * by a holder whose `lockedBy` is empty. Only a release by token or of any holder ends that sooner. A repeated release
   * is answered like the first. On a backend with `keeping` only.
   */
  readonly keep?: number;
}

/**
 * One renewal: the new expiry is the later of the present one and `from` + `add`.
 *
 * @example
 * ```ts
 * import { connect, getLock, type RenewRequest } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend, expires: 60 });
 * const request: RenewRequest = { name: "jobs", owner: null, from: "expiry", add: 30e6 };
 * const [row] = await backend.renew([request]);
 * assert.equal(row!.lockedUntil! - row!.createdAt, 90e6); // microseconds
 * ```
 */
export interface RenewRequest extends LockRef {
  /** What `add` counts from: the server's clock, the present expiry, or a fixed time in microseconds. */
  readonly from: "now" | "expiry" | number;
  /** Microseconds to add; `null` makes the lock never expire. */
  readonly add: number | null;
}

/**
 * Which locks to list.
 *
 * @example
 * ```ts
 * import { connect, getLock, type ListFilter } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("report:1", { backend });
 * const filter: ListFilter = { prefix: "report:" };
 * assert.equal((await backend.list(filter)).length, 1);
 * ```
 */
export interface ListFilter {
  /** Only these names. */
  readonly names?: readonly string[];
  /** Only names that begin with this, compared exactly. Not together with `names`. */
  readonly prefix?: string;
  /** Also locks that have expired and were not cleaned away. @default false */
  readonly includeExpired?: boolean;
}

/**
 * A database that keeps locks. Made by `connect` or by an engine's own function.
 *
 * @example
 * ```ts
 * import { type Backend, connect, isLocked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend: Backend = await connect("sqlite::memory:");
 * assert.equal(backend.engine, "sqlite");
 * assert.equal(await isLocked("jobs", { backend }), false);
 * ```
 */
export interface Backend extends AsyncDisposable {
  /** The engine's name, such as `"sqlite"`. */
  readonly engine: string;
  /** How it keeps locks. */
  readonly mode: Mode;
  /**
   * Whether it keeps the waiters of a name in a queue, where a release grants the name to the first for a short time,
   * which the waiter learns by repeating its request. Then it also serves `limit` and `steal`. @default false
   */
  readonly queueing?: boolean;
  /** Whether its releases serve `keep`. @default false */
  readonly keeping?: boolean;
  /**
   * Makes one atomic attempt for each request, without waiting. With `allOrNothing`, either every name is granted or
   * nothing changes; then the free names are answered as not granted, without a holder. Such requests are exclusive.
   */
  acquire(requests: readonly AcquireRequest[], options?: { readonly allOrNothing?: boolean }): Promise<AcquireAnswer[]>;
  /** Extends each live lock; answers `undefined` for one that is gone. */
  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]>;
  /** Releases each live lock; answers `false` for one that was gone. A waiter of that owner leaves the queue. */
  release(locks: readonly LockRef[]): Promise<boolean[]>;
  /**
   * Gives a live lock to another owner, who keeps its token, times and metadata; changes nothing when it is gone. Of
   * several attempts one takes effect. The core then asks by a renewal whether it was this one.
   */
  adopt?(lock: OwnedLock, next: NextHolder): Promise<void>;
  /** Lists locks, ordered by the code points of their names. Changes nothing. */
  list(filter: ListFilter): Promise<LockRow[]>;
  /** Removes expired locks, or all of them; returns how many. */
  clean(scope: "expired" | "all"): Promise<number>;
  /**
   * Calls `wake` when the name may have become free or changed hands, until disposal: sometimes without reason, and late
   * at most by the engine's polling interval.
   */
  watch?(name: string, wake: () => void): Promise<Disposable>;
  /** Whether this acquisition is still live, where `list` cannot tell. */
  verify?(lock: OwnedLock): Promise<boolean>;
  /** Whether this acquisition is live: if so, it cannot change hands until the caller's open transaction ends. */
  guard?(lock: OwnedLock, client: unknown): Promise<boolean>;
  /** The same, where the driver answers at once. */
  guardSync?(lock: OwnedLock, client: unknown): boolean;
  /** Reports the connections that hold each name and wait for it. Changes nothing. */
  observe?(names: readonly string[]): Promise<readonly LockActivity[]>;
  /** Checks what the server and its settings mean for locks: version, replica, cluster, privileges. Changes nothing. */
  diagnose?(): Promise<readonly Diagnostic[]>;
}
