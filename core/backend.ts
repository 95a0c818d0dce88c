/**
 * The one seam between the core and an engine. It speaks of locks, never of SQL: a backend decides,
 * atomically, who has what; waiting, renewal timing, naming of errors and policy live in the core.
 *
 * Every request ends in one of three ways: it took effect; it certainly did not and will not; or that is unknown, which
 * an engine says by a retryable `BackendError`. What is unknown is found again by its owner (the same request with
 * `repeated`), or released before a caller can be told an outcome that another could contradict. For this an engine
 * answers "not granted" to a repeated request only when the earlier one cannot take effect any more, and the core
 * repeats the release of an acquisition that no caller knows of until it is answered. A row that never expires is only
 * made by a renewal of an acquisition that its holder has heard of.
 *
 * Disposal: `[Symbol.asyncDispose]` of an engine is a call of `closeLocks` in `closing.ts`.
 *
 * @module
 */

import type { Diagnostic, LockActivity } from "./observing.ts";

export type { Diagnostic, LockActivity, ServerConnection } from "./observing.ts";

/**
 * How locks are kept.
 *
 * - `"lease"`: as a row that lapses at its expiry. Works everywhere; the default.
 * - `"session"`: as the server's own lock on one of our connections, free as soon as that ends. No row, no expiry.
 * - `"hybrid"`: as a row that a connection vouches for: free at its expiry, or as soon as that connection ends.
 *
 * The last two need PostgreSQL, MySQL or MariaDB without a transaction pooler in between.
 *
 * @example
 * ```ts
 * import { connect, type Mode } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const mode: Mode = "lease";
 * await using backend = await connect("sqlite::memory:", { mode });
 * assert.equal(backend.mode, mode);
 * ```
 */
export type Mode = "lease" | "session" | "hybrid";

/**
 * A value that JSON can carry.
 *
 * @example
 * ```ts
 * import { connect, getLock, type Json } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const metadata: Json = { shard: 7, tags: ["nightly"] };
 * assert.deepEqual((await getLock("jobs", { backend, metadata })).metadata, metadata);
 * ```
 */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

/**
 * One lock as the database answered it. Times are whole microseconds since 1970 by the server's clock:
 * below 2^53 until the year 2255, so that a `number` holds them exactly.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockRow } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend, expires: 60 });
 * const row: LockRow = (await backend.list({ names: ["jobs"] }))[0];
 * assert.equal(row.token, lock.token);
 * assert.equal(row.lockedUntil! - row.createdAt, 60e6); // microseconds
 * ```
 */
export interface LockRow {
  /** The locked name. */
  readonly name: string;
  /** The fencing token of this acquisition. */
  readonly token: bigint;
  /** Who took it, for people: a host name unless the caller said otherwise. */
  readonly lockedBy: string;
  /** A number for people, such as a process id. */
  readonly lockProcess: number | null;
  /** When it lapses; `null` is never. */
  readonly lockedUntil: number | null;
  /** When this acquisition was made. */
  readonly createdAt: number;
  /** When it was last acquired or renewed. */
  readonly updatedAt: number;
  /** JSON text stored with the lock. */
  readonly metadata: string | null;
  /** The server's clock as it answered. */
  readonly now: number;
  /** What the server knows of the session that vouches for it: a process or connection id. Absent for a lease. */
  readonly session?: string | null;
}

/**
 * One atomic attempt to take one name.
 *
 * @example
 * ```ts
 * import { type AcquireRequest, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const request: AcquireRequest = {
 *   name: "jobs",
 *   owner: crypto.randomUUID(),
 *   duration: 60e6, // microseconds
 *   lockedBy: "host-a",
 *   lockProcess: null,
 *   metadata: null,
 *   shared: false,
 * };
 * const [answer] = await backend.acquire([request]);
 * assert(answer.granted);
 * ```
 */
export interface AcquireRequest {
  /** The name wanted. */
  readonly name: string;
  /** Unguessable and new for every acquisition; the same again only when a request is repeated after a lost answer. */
  readonly owner: string;
  /** How long the lease shall last, in microseconds; `null` is for ever. */
  readonly duration: number | null;
  /** Who takes it, for people. */
  readonly lockedBy: string;
  /** A number for people. */
  readonly lockProcess: number | null;
  /** JSON text to store with the lock. */
  readonly metadata: string | null;
  /** Whether others may share it (session locks of an engine that says so). */
  readonly shared: boolean;
  /**
   * Whether an earlier request of this owner may still take effect, since its answer was lost. Then a row that another
   * transaction has locked must not be answered as not granted, but with a retryable `BackendError`; and a row of this
   * owner is granted again for the present session.
   */
  readonly repeated?: boolean;
}

/**
 * The server session that a lock rides on: when it ends, the lock is gone.
 *
 * @example
 * ```ts
 * import { type SessionHandle } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const listeners = new Set<() => void>();
 * const session: SessionHandle = {
 *   ended: undefined,
 *   onEnd(listener) {
 *     listeners.add(listener);
 *     return () => listeners.delete(listener);
 *   },
 * };
 * const forget = session.onEnd(() => {});
 * forget();
 * assert.equal(listeners.size, 0);
 * ```
 */
export interface SessionHandle {
  /** Why it ended; `undefined` while it lives. */
  readonly ended: Error | undefined;
  /** The same as a clause, for the error that says that a lock is lost. @default "the session that kept it has ended" */
  readonly reason?: string;
  /** Calls `listener` once when it ends; answers a function that takes the listener away. */
  onEnd(listener: () => void): () => void;
}

/**
 * What came of an attempt. A grant carries the session that keeps it, where there is one.
 *
 * @example
 * ```ts
 * import { type AcquireAnswer, connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend, lockedBy: "host-a" });
 * const request = { name: "jobs", owner: "b", duration: 60e6, lockedBy: "host-a", lockProcess: null, metadata: null, shared: false };
 * const answer: AcquireAnswer = (await backend.acquire([request]))[0];
 * assert(!answer.granted && answer.holder?.lockedBy === "host-a");
 * ```
 */
export type AcquireAnswer =
  | { readonly granted: true; readonly row: LockRow; readonly session?: SessionHandle }
  | { readonly granted: false; readonly holder: LockRow | undefined };

/**
 * A claim to a lock: the name and the owner of one acquisition.
 *
 * @example
 * ```ts
 * import { type OwnedLock, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const claim: OwnedLock = { name: "jobs", owner: "an owner that was never granted anything" };
 * assert.deepEqual(await backend.release([claim]), [false]);
 * ```
 */
export interface OwnedLock {
  /** The name held. */
  readonly name: string;
  /** The owner given when it was acquired. */
  readonly owner: string;
}

/**
 * Which lock to extend or release: one acquisition's, or with `owner: null` whoever's it is.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockRef } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend });
 * const target: LockRef = { name: "jobs", owner: null }; // whoever's it is
 * assert.deepEqual(await backend.release([target]), [true]);
 * ```
 */
export interface LockRef {
  /** The name meant. */
  readonly name: string;
  /** The owner of the acquisition meant; `null` means whoever holds the name. */
  readonly owner: string | null;
}

/**
 * One extension: the new expiry is the later of the present one and `from` + `add`.
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
  /** What `add` counts from: the server's present time, the row's present expiry, or a fixed time in microseconds. */
  readonly from: "now" | "expiry" | number;
  /** Microseconds to add; `null` makes the lock never expire. */
  readonly add: number | null;
}

/**
 * Which locks to list. Without `includeExpired` only live ones.
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
  /** Only names that begin so, compared exactly. */
  readonly prefix?: string;
  /** Also those that have lapsed and were not cleaned away. */
  readonly includeExpired?: boolean;
}

/**
 * A database that keeps locks. Made by `connect` or by one of the engines' own functions.
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
  /** How this backend keeps its locks. */
  readonly mode: Mode;
  /** Whether `shared` requests can be served. */
  readonly sharing?: boolean;
  /**
   * One atomic attempt for each request, never waiting. With `allOrNothing`, either every name is granted or nothing
   * changes; then the names that were free are answered as not granted, without a holder.
   */
  acquire(
    requests: readonly AcquireRequest[],
    options?: { readonly allOrNothing?: boolean },
  ): Promise<AcquireAnswer[]>;
  /** Extends each lock that is still live; `undefined` for one that is gone. */
  renew(requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]>;
  /** Frees each lock that is still live; `false` for one that was gone. */
  release(targets: readonly LockRef[]): Promise<boolean[]>;
  /** What is held, ordered by name. Never changes anything. */
  list(filter: ListFilter): Promise<LockRow[]>;
  /** Clears away expired locks, or all of them; answers how many. */
  clean(scope: "expired" | "all"): Promise<number>;
  /**
   * Calls `wake` whenever the name may have become free, from the moment the promise resolves until disposal.
   * A hint: it may come for nothing, and one may be missing only for as long as the engine's own safety net takes.
   */
  watch?(name: string, wake: () => void): Promise<Disposable>;
  /** Whether this very acquisition is still live, where reading the list cannot tell. */
  verify?(claim: OwnedLock): Promise<boolean>;
  /**
   * One statement on the caller's own open transaction: `true` when this acquisition is live, and then it cannot
   * change hands until that transaction ends.
   */
  guard?(claim: OwnedLock, client: unknown): Promise<boolean>;
  /** Tells of names, in their order, whose connections hold them and wait for them. Changes nothing. */
  observe?(names: readonly string[]): Promise<readonly LockActivity[]>;
  /** Looks at what the server and its settings mean for locks: version, replica, cluster, pooler, privileges. Changes nothing. */
  diagnose?(): Promise<readonly Diagnostic[]>;
}
