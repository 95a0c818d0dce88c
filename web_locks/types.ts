/**
 * The types of the Web Locks API, as in a browser's library `dom`.
 *
 * @module
 */

/**
 * How a name is held: by one holder, or by any number of `"shared"` ones.
 *
 * @example
 * ```ts
 * import { type LockMode } from "@lockmgr/lockmgr/web-locks";
 *
 * const mode: LockMode = "shared";
 * ```
 */
export type LockMode = "exclusive" | "shared";

/**
 * The options of a request.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { lockManager, type LockOptions } from "@lockmgr/lockmgr/web-locks";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: LockOptions = { mode: "shared", ifAvailable: true };
 * await lockManager(backend).request("report", options, (lock) => assert.equal(lock?.mode, "shared"));
 * ```
 */
export interface LockOptions {
  /** Whether others may hold the name, too. @default "exclusive" */
  mode?: LockMode;
  /** Does not wait: calls the callback with `null` when the name is held or waited for. @default false */
  ifAvailable?: boolean;
  /** Takes the name from its holders, ahead of all who wait. @default false */
  steal?: boolean;
  /** Ends the wait: the request rejects with `signal.reason`. Without effect once the lock is granted. */
  signal?: AbortSignal;
}

/**
 * A granted lock. It is released when the promise of the callback settles.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { type Lock, lockManager } from "@lockmgr/lockmgr/web-locks";
 *
 * await using backend = await connect("sqlite::memory:");
 * await lockManager(backend).request("report", async (lock: Lock | null) => {
 *   await fetch("data:,work", { signal: lock!.signal }); // ends if the lock is lost
 * });
 * ```
 */
export interface Lock {
  /** The name as it was requested. */
  readonly name: string;
  /** The mode as it was requested. */
  readonly mode: LockMode;
  /** The fencing token: it increases with every grant of this name, permanently. Not in the standard. */
  readonly token: bigint;
  /** Aborts with a `LockLost` when the lock is stolen or lost otherwise. Not in the standard. */
  readonly signal: AbortSignal;
}

/**
 * Runs while the lock is held; gets `null` when a request with `ifAvailable` found the name held.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { type LockGrantedCallback, lockManager } from "@lockmgr/lockmgr/web-locks";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const callback: LockGrantedCallback<number> = (lock) => lock ? 1 : 0;
 * assert.equal(await lockManager(backend).request("report", callback), 1);
 * ```
 */
export type LockGrantedCallback<T> = (lock: Lock | null) => T;

/**
 * A held lock, or a request that waits.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { type LockInfo, lockManager } from "@lockmgr/lockmgr/web-locks";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const locks = lockManager(backend);
 * await locks.request("report", async () => {
 *   const [info]: LockInfo[] = (await locks.query()).held;
 *   assert.equal(info.name, "report");
 * });
 * ```
 */
export interface LockInfo {
  /** The name. */
  name: string;
  /** The mode. */
  mode: LockMode;
  /** The `LockManager` that requested it, unique; of a lock that was acquired otherwise, its `lockedBy`. */
  clientId: string;
}

/**
 * What `query` answers.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { lockManager, type LockManagerSnapshot } from "@lockmgr/lockmgr/web-locks";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const state: LockManagerSnapshot = await lockManager(backend).query();
 * assert.deepEqual(state, { held: [], pending: [] });
 * ```
 */
export interface LockManagerSnapshot {
  /** The locks that are held, of all processes. */
  held: LockInfo[];
  /**
   * The requests that wait, for each name in the order in which they will be granted: all of this process, and of each
   * other process the one that is next.
   */
  pending: LockInfo[];
}

/**
 * Requests locks and looks at them, as `navigator.locks` does.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { type LockManager, lockManager } from "@lockmgr/lockmgr/web-locks";
 *
 * await using backend = await connect("sqlite::memory:");
 * const locks: LockManager = lockManager(backend);
 * await locks.request("report", () => {});
 * ```
 */
export interface LockManager {
  /**
   * Waits for the name, calls `callback` while holding it, and releases it when the promise of `callback` settles.
   *
   * @param name Any string that does not begin with "-".
   * @returns What `callback` returns or throws. It rejects with an `AbortError` as soon as the lock is stolen or lost
   * otherwise, though `callback` goes on.
   * @throws {DOMException} `NotSupportedError` for a name or options that the standard refuses.
   * @throws {TypeError} For an argument that cannot be converted.
   * @throws {BackendError} When the database refuses. While it does not answer, a request waits, unless `ifAvailable` or
   * `steal` is set.
   * @throws {UnsupportedError} For `"shared"` and `steal` on a backend without a queue.
   */
  request<T>(name: string, callback: LockGrantedCallback<T>): Promise<Awaited<T>>;
  /** As above, with options. */
  request<T>(name: string, options: LockOptions, callback: LockGrantedCallback<T>): Promise<Awaited<T>>;
  /**
   * Returns what is held and what waits, in all processes.
   *
   * @throws {BackendError} When the database could not answer.
   */
  query(): Promise<LockManagerSnapshot>;
}

/**
 * The options of `lockManager`.
 *
 * @example
 * ```ts
 * import { connect } from "@lockmgr/lockmgr";
 * import { lockManager, type LockManagerOptions } from "@lockmgr/lockmgr/web-locks";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: LockManagerOptions = { expires: 5 };
 * await lockManager(backend, options).request("report", () => {});
 * ```
 */
export interface LockManagerOptions {
  /**
   * Seconds until a lock whose process died is free in `lease` mode; it is renewed at a third. `0`, `null` or `Infinity`
   * is never. @default 30 (`session` mode: none)
   */
  expires?: number | null;
}
