/**
 * The defaults and checks of names and options, which come before any I/O.
 *
 * @module
 */
import type { Backend, LockRef, RenewRequest } from "../backend.ts";
import { UnsupportedError } from "../errors.ts";
import { quoted } from "../events/invisible.ts";
import type { HolderOptions, LockOptions, RenewOptions } from "./option_types.ts";
import { hostname } from "../util/runtime.ts";

export type * from "./option_types.ts";

/** The longest name in Unicode code points: they fit into `VARBINARY(1020)` in any script. */
const MAX_NAME_LENGTH = 255;

/** Whether a text is no longer than a name may be. */
export function fitsName(text: string): boolean {
  if (text.length <= MAX_NAME_LENGTH) return true;
  return text.length <= 2 * MAX_NAME_LENGTH && [...text].length <= MAX_NAME_LENGTH;
}

/**
 * Checks that a text can be stored by every engine and read back unchanged.
 *
 * @throws {TypeError} When it is not a string, or contains NUL or a lone surrogate.
 * @throws {RangeError} When it is empty or longer than 255 code points.
 */
export function checkText(what: string, text: unknown): asserts text is string {
  if (typeof text !== "string") throw new TypeError(`Cannot use ${what} of type ${typeof text}: want a string`);
  if (text === "") throw new RangeError(`Cannot use an empty ${what}: want 1 to ${MAX_NAME_LENGTH} characters`);
  if (!fitsName(text)) {
    throw new RangeError(`Cannot use a ${what} of over ${MAX_NAME_LENGTH} characters: want 1 to ${MAX_NAME_LENGTH}`);
  }
  if (text.includes("\0")) throw new TypeError(`Cannot use ${what} ${quoted(text)}: it contains NUL`);
  if (!text.isWellFormed()) {
    throw new TypeError(`Cannot use ${what} ${quoted(text)}: it contains a lone surrogate`);
  }
}

/**
 * Checks the name of a lock.
 *
 * @throws {TypeError} When it is not a string, or contains NUL or a lone surrogate.
 * @throws {RangeError} When it is empty or longer than 255 code points.
 */
export function checkName(name: unknown): asserts name is string {
  checkText("lock name", name);
}

/**
 * Checks a list of names.
 *
 * @returns A copy, since the caller may change the list before it is used.
 * @throws {TypeError | RangeError} For what is no array of names.
 */
export function checkNames(names: unknown, wanted = "an array of names"): string[] {
  if (!Array.isArray(names)) throw new TypeError(`Cannot use names of type ${typeof names}: want ${wanted}`);
  const copy = [...names]; // what an array leaves out is `undefined` here
  copy.forEach(checkName);
  return copy;
}

/**
 * Returns which lock a caller means: by a record, or its name and token, that acquisition; by name the lock of any
 * holder.
 *
 * @throws {TypeError | RangeError} For a malformed name or token.
 */
export function lockRefOf(lock: unknown): LockRef {
  if (typeof lock !== "object" || lock === null) {
    checkName(lock);
    return { name: lock, owner: null };
  }
  const { name, token } = lock as { readonly name?: unknown; readonly token?: unknown };
  checkName(name);
  if (typeof token === "bigint") return { name, owner: token };
  throw new TypeError(`Cannot use a token of type ${typeof token} for lock ${quoted(name)}: want a bigint`);
}

/** The default of `expires`: ten minutes, as in django-lockmgr. */
export const DEFAULT_EXPIRES_S = 600;

/** The longest finite duration: a hundred years. */
const MAX_DURATION_S = 100 * 365.25 * 86_400;

/** Checks a number of seconds; `Infinity` passes. */
function checkSeconds(
  what: string,
  seconds: unknown,
  wanted = `0 to ${MAX_DURATION_S} seconds (100 years), or Infinity`,
): asserts seconds is number {
  if (typeof seconds !== "number") {
    throw new TypeError(`Cannot use ${what} of type ${seconds === null ? "null" : typeof seconds}: want seconds`);
  }
  if (Number.isNaN(seconds) || seconds < 0 || (seconds !== Infinity && seconds > MAX_DURATION_S)) {
    throw new RangeError(`Cannot use ${what} ${seconds}: want ${wanted}`);
  }
}

/**
 * Returns a duration in whole microseconds; `null` is never.
 *
 * @throws {TypeError | RangeError} When it is not a number, or negative, NaN or over 100 years.
 */
export function microseconds(what: string, seconds: unknown): number | null {
  if (seconds === null) return null;
  checkSeconds(what, seconds);
  return seconds === 0 || seconds === Infinity ? null : Math.max(1, Math.round(seconds * 1e6));
}

/** Checks the holder and fills in the defaults. */
export function resolveHolder(options: HolderOptions): { lockedBy: string; lockProcess: number | null } {
  const lockedBy = options.lockedBy ?? hostname();
  if (options.lockedBy != null) checkText("lockedBy", lockedBy);
  const lockProcess = options.lockProcess ?? null;
  if (lockProcess !== null && !Number.isSafeInteger(lockProcess)) {
    const Wrong = typeof lockProcess === "number" ? RangeError : TypeError;
    throw new Wrong(`Cannot use lockProcess ${String(lockProcess)}: want a whole number`);
  }
  return { lockedBy, lockProcess };
}

/**
 * Checks a time between two queries and returns it in milliseconds.
 *
 * @throws {TypeError | RangeError} When it is not a number of seconds greater than 0.
 */
export function checkInterval(interval: unknown): number {
  const wanted = "more than 0 seconds";
  checkSeconds("interval", interval, wanted);
  if (interval === 0) throw new RangeError(`Cannot use interval 0: want ${wanted}`);
  return interval * 1e3;
}

/** The options of `getLock` after the checks that need no backend. */
export interface ResolvedLockOptions {
  /** Microseconds; `null` is never, `undefined` the default. */
  readonly duration: number | null | undefined;
  readonly lockedBy: string;
  readonly lockProcess: number | null;
  /** Seconds to wait. */
  readonly wait: number;
  /** Ends the wait. */
  readonly signal: AbortSignal | undefined;
  readonly autoRenew: boolean;
  /** JSON text, or `null`. */
  readonly metadata: string | null;
  /** How many holders may have the name at once; `Infinity` is shared. */
  readonly limit: number;
  /** Whether to replace the present holders. */
  readonly steal: boolean;
  /** Microseconds for which the name stays unavailable at least; `undefined` without. */
  readonly keep: number | undefined;
  /** Is called once an answer says that the caller has to wait. */
  readonly onPending?: () => void;
}

/** The largest `limit`: beyond it engines store a shared lock. */
const MAX_LIMIT = 999_999_999;

/** Checks who else may hold the name: `shared` (without a limit), `limit`, or neither. */
function resolveSharing({ shared = false, limit, steal = false }: LockOptions): { limit: number; steal: boolean } {
  if (limit !== undefined && typeof limit !== "number") {
    throw new TypeError(`Cannot use limit of type ${limit === null ? "null" : typeof limit}: want a whole number`);
  }
  if (limit !== undefined && !(Number.isInteger(limit) && limit >= 1 && limit <= MAX_LIMIT)) {
    throw new RangeError(`Cannot use limit ${limit}: want a whole number from 1 to ${MAX_LIMIT}`);
  }
  if (shared && limit !== undefined) throw new TypeError("Cannot use shared with limit: want one of them");
  if (steal && (shared || limit !== undefined)) {
    throw new TypeError("Cannot use steal with shared or limit: a stolen lock is exclusive");
  }
  return { limit: shared ? Infinity : limit ?? 1, steal };
}

/** Returns the least time that a name is held in microseconds; `undefined` for 0. */
function resolveKeep(holdAtLeast: unknown = 0): number | undefined {
  const wanted = `0 to ${MAX_DURATION_S} seconds (100 years)`;
  checkSeconds("holdAtLeast", holdAtLeast, wanted);
  if (holdAtLeast === Infinity) throw new RangeError(`Cannot use holdAtLeast Infinity: want ${wanted}`);
  return holdAtLeast === 0 ? undefined : Math.max(1, Math.round(holdAtLeast * 1e6));
}

/** Returns the JSON text of a metadata value; `null` without one. */
function metadataText(metadata: unknown): string | null {
  if (metadata === undefined || metadata === null) return null;
  let text: string | undefined;
  try {
    text = JSON.stringify(metadata);
  } catch (error) {
    throw new TypeError("Cannot use metadata that JSON cannot hold: want a JSON value", { cause: error });
  }
  if (text === undefined) throw new TypeError(`Cannot use metadata of type ${typeof metadata}: want a JSON value`);
  return text;
}

/** Checks the options of `getLock` and fills in the defaults. */
export function resolveLockOptions(options: LockOptions): ResolvedLockOptions {
  const { expires, wait = 0, signal, autoRenew = false } = options;
  checkSeconds("wait", wait);
  const { lockedBy, lockProcess } = resolveHolder(options);
  const { limit, steal } = resolveSharing(options);
  const duration = expires === undefined ? undefined : microseconds("expires", expires);
  const metadata = metadataText(options.metadata);
  const keep = resolveKeep(options.holdAtLeast);
  return { duration, lockedBy, lockProcess, wait, signal, autoRenew, metadata, limit, steal, keep };
}

/**
 * Returns the duration of a new lock on this backend (µs; `null` is never), and refuses what its mode cannot do.
 *
 * @throws {UnsupportedError} For a finite `expires`, `metadata` or `holdAtLeast` in `session` mode, and for `shared`, `limit` and `steal`
 * where there is no queue.
 */
export function durationFor(backend: Backend, options: ResolvedLockOptions): number | null {
  if (!backend.queueing && (options.limit !== 1 || options.steal)) {
    const what = options.steal ? "steal" : options.limit === Infinity ? "share" : "limit the holders of";
    const hasKeeper = options.limit === Infinity && backend.engine === "postgres";
    const keeper = hasKeeper ? ', or advisoryLock of "@lockmgr/lockmgr/postgres"' : "";
    const advice = backend.mode === "session"
      ? `want "lease" or "hybrid" mode${keeper}`
      : "this backend keeps no queue; want an exclusive lock";
    throw new UnsupportedError(`Cannot ${what} locks on ${backend.engine} in "${backend.mode}" mode: ${advice}`);
  }
  const { keep = 0 } = options;
  if (keep > 0 && !backend.keeping) {
    requireRows(backend, "use holdAtLeast");
    throw new UnsupportedError(`Cannot use holdAtLeast on ${backend.engine}: this backend cannot keep a released name`);
  }
  if (backend.mode !== "session") {
    const { duration = DEFAULT_EXPIRES_S * 1e6 } = options;
    return duration === null ? null : Math.max(duration, keep);
  }
  if (options.duration) requireRows(backend, "use expires");
  if (options.metadata !== null) requireRows(backend, "store metadata");
  return null;
}

/** Refuses an action in `session` mode, which has no rows, with an `UnsupportedError`. */
export function requireRows(backend: Backend, what: string): void {
  if (backend.mode !== "session") return;
  throw new UnsupportedError(`Cannot ${what} in "session" mode: it has no row; want "lease" or "hybrid"`);
}

/**
 * Refuses what makes a lock outlive the process that acquired it, where that cannot be.
 *
 * @throws {UnsupportedError} In `session` and `hybrid` mode, and by a backend that cannot change a lock's owner.
 */
export function requireAdoption({ engine, mode, adopt }: Backend, what: string): void {
  if (mode !== "lease") {
    throw new UnsupportedError(`Cannot ${what} in "${mode}" mode: it ends with this process's session; want "lease"`);
  }
  if (adopt === undefined) throw new UnsupportedError(`Cannot ${what} on ${engine}: this backend cannot change owners`);
}

/** Returns how far to extend: from now, or with `addTime` from the present expiry (by handle: from `seen`). */
export function extension(options: RenewOptions, seen?: number | null): Pick<RenewRequest, "from" | "add"> {
  const add = microseconds("expires", options.expires === undefined ? DEFAULT_EXPIRES_S : options.expires);
  if (!options.addTime) return { from: "now", add };
  return { from: seen ?? "expiry", add };
}
