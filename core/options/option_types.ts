/**
 * The types of the verbs' options.
 *
 * @module
 */
import type { Backend, Json } from "../backend.ts";

/**
 * The database to use.
 *
 * @example
 * ```ts
 * import { type BackendOptions, cleanLocks, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: BackendOptions = { backend };
 * assert.equal(await cleanLocks(options), 0);
 * ```
 */
export interface BackendOptions {
  /** The database that keeps the lock. @default the one of `setDefaultBackend`, else of `LOCKMGR_URL`, else an SQLite file in the user's state directory */
  backend?: Backend;
}

/**
 * The holder of a lock: a description for people, no credentials.
 *
 * @example
 * ```ts
 * import { connect, getLock, type HolderOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const holder: HolderOptions = { lockedBy: "host-a", lockProcess: 71 };
 * const lock = await getLock("jobs", { backend, ...holder });
 * assert.equal(lock.lockedBy, "host-a");
 * ```
 */
export interface HolderOptions {
  /** The holder's name. @default the machine's host name */
  lockedBy?: string;
  /** A whole number for people, such as a process id. @default null */
  lockProcess?: number | null;
}

/**
 * Options of `getLock`, `tryLock` and `withLock`. All durations are seconds, fractions allowed.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: LockOptions = { backend, expires: 30, wait: 5, metadata: { shard: 7 } };
 * const lock = await getLock("jobs", options);
 * assert.deepEqual(lock.metadata, { shard: 7 });
 * ```
 */
export interface LockOptions extends BackendOptions, HolderOptions {
  /** Seconds until the lock expires; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Seconds to wait while the name is held; `Infinity` waits until it is free. @default 0 */
  wait?: number;
  /** Ends the wait; the call then rejects with `signal.reason`. */
  signal?: AbortSignal;
  /** Renews the lease at a third of its length until it is released. @default false (`withLock`: true) */
  autoRenew?: boolean;
  /** A JSON value stored with the lock and shown by `listLocks`. @default null */
  metadata?: Json;
  /** A reader lock: shares the name with other `shared` holders. On a backend with a queue. @default false */
  shared?: boolean;
  /** How many holders may have the name at once; the smallest limit in force counts. On a backend with a queue. @default 1 */
  limit?: number;
  /**
   * Replaces every present holder at once and overtakes the waiters. The signals of holders in other processes abort when
   * these next ask the database, as to renew. On a backend with a queue. @default false
   */
  steal?: boolean;
  /**
   * Seconds after the acquisition, by the server's clock, until which the name stays unavailable although the lock was
   * released: then it is held by nobody. The lease is at least as long. In `hybrid` mode the lock is a lease, since it has
   * to outlive its holder's session. @default 0
   */
  holdAtLeast?: number;
}

/**
 * Options of `lead`.
 *
 * @example
 * ```ts
 * import { connect, lead, type LeadOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: LeadOptions = { backend, signal: AbortSignal.timeout(60_000), lockedBy: "host-a" };
 * await lead("scheduler", options, (lock) => assert.equal(lock.lockedBy, "host-a"));
 * ```
 */
export interface LeadOptions extends Pick<LockOptions, "backend" | "lockedBy" | "metadata"> {
  /** Seconds until a leader that died is replaced in `lease` mode; renewed at a third. @default 30 (`session` mode: none) */
  expires?: number | null;
  /** Ends the wait for the leadership; a body that runs has to end by itself. */
  signal?: AbortSignal;
}

/**
 * Options of `renewLock` and `Lock.renew`. `lockedBy` and `lockProcess` name the holder of a lock that `create` acquires.
 *
 * @example
 * ```ts
 * import { connect, getLock, type RenewOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend, expires: 60 });
 * const options: RenewOptions = { expires: 30, addTime: true };
 * await lock.renew(options);
 * assert(lock.expiresIn! > 80);
 * ```
 */
export interface RenewOptions extends BackendOptions, HolderOptions {
  /** Seconds from now until the lock expires; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Adds to the present expiry instead of counting from now. @default false */
  addTime?: boolean;
  /** Acquires a fresh lock when the old one is gone. @default false */
  create?: boolean;
}

/**
 * Options of `adoptLock`.
 *
 * @example
 * ```ts
 * import { adoptLock, type AdoptOptions, connect, getLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const text = (await getLock("jobs", { backend })).detach();
 * const options: AdoptOptions = { backend, expires: 30, autoRenew: true, lockedBy: "worker-7" };
 * await using lock = await adoptLock(text, options);
 * assert.equal(lock.lockedBy, "worker-7");
 * ```
 */
export interface AdoptOptions extends BackendOptions, HolderOptions {
  /** Seconds from now until the lock expires, at least; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Renews the lease at a third of `expires` until it is released. @default false */
  autoRenew?: boolean;
}

/**
 * Options of `setLock`.
 *
 * @example
 * ```ts
 * import { connect, setLock, type SetLockOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: SetLockOptions = { backend, expires: 60, renew: false };
 * await setLock("jobs", options);
 * const { counts } = await setLock("jobs", options);
 * assert.equal(counts.skipRenew, 1);
 * ```
 */
export interface SetLockOptions extends BackendOptions, HolderOptions {
  /** Seconds until the locks expire; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Changes nothing and throws `LockFail` when any name is held. @default false */
  fail?: boolean;
  /** Renews names that are held by any holder. @default true */
  renew?: boolean;
  /** Acquires names that are free. @default true */
  create?: boolean;
  /** A JSON value stored with the locks that it creates. @default null */
  metadata?: Json;
}

/**
 * Options of `listLocks`.
 *
 * @example
 * ```ts
 * import { connect, getLock, listLocks, type ListOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("report:1", { backend });
 * const options: ListOptions = { backend, prefix: "report:" };
 * assert.equal((await listLocks(options)).length, 1);
 * ```
 */
export interface ListOptions extends BackendOptions {
  /** Only these names. @default every name */
  names?: readonly string[];
  /** Only names that begin with this, compared exactly. @default every name */
  prefix?: string;
  /** Also locks that have expired and were not cleaned away. @default false */
  includeExpired?: boolean;
}

/**
 * Options of `watchLocks`.
 *
 * @example
 * ```ts
 * import { connect, watchLocks, type WatchOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: WatchOptions = { backend, names: ["jobs"], signal: AbortSignal.timeout(60_000) };
 * for await (const { holders } of watchLocks(options)) {
 *   assert.equal(holders.length, 0);
 *   break;
 * }
 * ```
 */
export interface WatchOptions extends BackendOptions, Pick<ListOptions, "names" | "prefix"> {
  /** Ends the iteration. */
  signal?: AbortSignal;
  /** The longest time between two queries, in seconds; they are more frequent after a change. @default 0.25 */
  interval?: number;
}

/**
 * Options of `LockMgr`. All durations are seconds, fractions allowed.
 *
 * @example
 * ```ts
 * import { connect, LockMgr, type LockMgrOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const options: LockMgrOptions = { backend, expires: 60, autoRenew: true };
 * await using mgr = await LockMgr.acquire("jobs", options);
 * assert(mgr.mainLock?.held);
 * ```
 */
export type LockMgrOptions = Pick<
  LockOptions,
  "backend" | "expires" | "lockedBy" | "lockProcess" | "wait" | "autoRenew" | "signal" | "metadata"
>;

/**
 * Options of a further lock of a manager. The defaults are those of the manager.
 *
 * @example
 * ```ts
 * import { connect, LockMgr, type LockMgrLockOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using mgr = await LockMgr.acquire("jobs", { backend });
 * const options: LockMgrLockOptions = { expires: 30, wait: 5 };
 * assert.equal((await mgr.lock("report", options)).name, "report");
 * ```
 */
export type LockMgrLockOptions = Pick<LockOptions, "expires" | "wait">;

/**
 * Options of `LockMgr.renew`.
 *
 * @example
 * ```ts
 * import { connect, LockMgr, type LockMgrRenewOptions } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await using mgr = await LockMgr.acquire("jobs", { backend, expires: 60 });
 * const options: LockMgrRenewOptions = { expires: 30 }; // 30 s more
 * assert((await mgr.renew(undefined, options)).expiresIn! > 80);
 * ```
 */
export interface LockMgrRenewOptions extends Omit<RenewOptions, "backend"> {
  /** Seconds to add, or to count from now. @default 120 */
  expires?: number | null;
  /** Adds to the present expiry. @default true */
  addTime?: boolean;
  /** Acquires a fresh lock when the old one is gone. @default true */
  create?: boolean;
}
