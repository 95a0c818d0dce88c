/**
 * Every default and every check of an option, done before any I/O.
 *
 * @module
 */
import type { Backend, Json, RenewRequest } from "./backend.ts";
import { UnsupportedError } from "./errors.ts";
import { checkText } from "./names.ts";
import { hostname } from "./runtime.ts";

/**
 * The database to use, for calls that take nothing else.
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
 * Who a lock is held by: words for people, no credentials.
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
  /** Who takes the lock. @default the machine's host name */
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
  /** Seconds until the lock lapses; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Seconds to wait while the name is held; `Infinity` waits until it is free. @default 0 */
  wait?: number;
  /** Ends the wait; the call then rejects with `signal.reason`. */
  signal?: AbortSignal;
  /** Renews the lease at a third of its length until it is released. @default false (`withLock`: true) */
  autoRenew?: boolean;
  /** A JSON value stored with the lock and shown by `listLocks`. @default null */
  metadata?: Json;
  /** Lets others hold the name at the same time, as long as they share too. PostgreSQL in `session` mode only. @default false */
  shared?: boolean;
}

/**
 * Options of `renewLock` and `Lock.renew`.
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
  /** Seconds from now until the lock lapses; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Adds to the present expiry instead of counting from now. @default false */
  addTime?: boolean;
  /** Takes a fresh lock when the old one is gone. @default false */
  create?: boolean;
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
  /** Seconds until the locks lapse; `0`, `null` or `Infinity` is never. @default 600 */
  expires?: number | null;
  /** Changes nothing and throws `LockFail` when any name is held. @default false */
  fail?: boolean;
  /** Renews names that are held, whoever holds them. @default true */
  renew?: boolean;
  /** Takes names that are free. @default true */
  create?: boolean;
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
  /** Only names that begin so, compared exactly. @default every name */
  prefix?: string;
  /** Also locks that have lapsed and were not cleaned away yet. @default false */
  includeExpired?: boolean;
}

/** Seconds that a lock lasts unless the caller says otherwise: ten minutes, as in django-lockmgr. */
export const DEFAULT_EXPIRES = 600;

/** The longest finite duration: a hundred years of 365.25 days, in seconds. */
const LONGEST = 100 * 365.25 * 86_400;

/** Checks a number of seconds; `Infinity` passes. */
function checkSeconds(what: string, seconds: unknown): asserts seconds is number {
  if (typeof seconds !== "number") {
    throw new TypeError(`Cannot use ${what} of type ${seconds === null ? "null" : typeof seconds}: want seconds`);
  }
  if (Number.isNaN(seconds) || seconds < 0 || (seconds !== Infinity && seconds > LONGEST)) {
    throw new RangeError(`Cannot use ${what} ${seconds}: want 0 to ${LONGEST} seconds (100 years), or Infinity`);
  }
}

/**
 * How long a lock lasts, in whole microseconds; `null` is for ever.
 *
 * @throws {TypeError | RangeError} When it is no number of seconds, or negative, NaN or over 100 years.
 */
export function microseconds(what: string, seconds: unknown): number | null {
  if (seconds === null) return null;
  checkSeconds(what, seconds);
  return seconds === 0 || seconds === Infinity ? null : Math.max(1, Math.round(seconds * 1e6));
}

/** Who holds the lock, checked. */
export function resolveHolder(options: HolderOptions): { lockedBy: string; lockProcess: number | null } {
  const lockedBy = options.lockedBy ?? hostname();
  checkText("lockedBy", lockedBy);
  const lockProcess = options.lockProcess ?? null;
  if (lockProcess !== null && !Number.isSafeInteger(lockProcess)) {
    const Wrong = typeof lockProcess === "number" ? RangeError : TypeError;
    throw new Wrong(`Cannot use lockProcess ${String(lockProcess)}: want a whole number`);
  }
  return { lockedBy, lockProcess };
}

/** `getLock`'s options after the checks that need no backend. */
export interface ResolvedLockOptions {
  /** Microseconds, `null` for ever, `undefined` when the caller said nothing. */
  readonly duration: number | null | undefined;
  /** Who takes it. */
  readonly lockedBy: string;
  /** A number for people. */
  readonly lockProcess: number | null;
  /** Seconds to wait. */
  readonly wait: number;
  /** Ends the wait. */
  readonly signal: AbortSignal | undefined;
  /** Whether to renew until release. */
  readonly autoRenew: boolean;
  /** JSON text, or `null`. */
  readonly metadata: string | null;
  /** Whether others may share the name. */
  readonly shared: boolean;
}

/** The JSON text of a metadata value; `null` for none. */
function metadataText(metadata: unknown): string | null {
  if (metadata === undefined || metadata === null) return null;
  const text: string | undefined = JSON.stringify(metadata);
  if (text === undefined) throw new TypeError(`Cannot use metadata of type ${typeof metadata}: want a JSON value`);
  return text;
}

/** Checks `getLock`'s options; throws before anything was asked of a database. */
export function resolveLockOptions(options: LockOptions): ResolvedLockOptions {
  const wait = options.wait ?? 0;
  checkSeconds("wait", wait);
  return {
    duration: options.expires === undefined ? undefined : microseconds("expires", options.expires),
    ...resolveHolder(options),
    wait,
    signal: options.signal,
    autoRenew: options.autoRenew ?? false,
    metadata: metadataText(options.metadata),
    shared: options.shared ?? false,
  };
}

/**
 * What a new lock asks of this backend: refuses what its mode cannot keep.
 *
 * @throws {UnsupportedError} For a finite `expires` or `metadata` in `session` mode, and `shared` where it is not served.
 */
export function durationFor(backend: Backend, options: ResolvedLockOptions): number | null {
  if (options.shared && !backend.sharing) {
    throw new UnsupportedError(
      `Cannot share locks on ${backend.engine} in "${backend.mode}" mode: want PostgreSQL in "session" mode`,
    );
  }
  if (backend.mode !== "session") return options.duration === undefined ? DEFAULT_EXPIRES * 1e6 : options.duration;
  if (options.duration) refuseInSession("use expires");
  if (options.metadata !== null) refuseInSession("store metadata");
  return null;
}

/** A session lock has no row: says so. */
function refuseInSession(what: string): never {
  throw new UnsupportedError(`Cannot ${what} in "session" mode: it has no row; want "lease" or "hybrid"`);
}

/**
 * Refuses what needs a row where there is none.
 *
 * @throws {UnsupportedError} In `session` mode.
 */
export function requireRows(backend: Backend, what: string): void {
  if (backend.mode === "session") refuseInSession(what);
}

/** How far to extend: counted from now, or added to what is there (by handle: to what that handle last saw). */
export function extension(options: RenewOptions, seen?: number | null): Pick<RenewRequest, "from" | "add"> {
  const add = microseconds("expires", options.expires === undefined ? DEFAULT_EXPIRES : options.expires);
  if (!options.addTime) return { from: "now", add };
  return { from: seen ?? "expiry", add };
}
