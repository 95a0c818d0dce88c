/**
 * The errors of lockmgr: one base class, a stable `code` on each.
 *
 * @module
 */
import { escapeInvisible } from "./events/invisible.ts";
import type { LockRecord } from "./lock/lock_record.ts";

/** Marks errors, also those of another copy of this package. */
const LOCK_ERROR = Symbol.for("@lockmgr/lockmgr/LockError");

/** The name of each class, which a minifier changes in the class itself, and the codes of it and of those below it. */
const classes = new Map<unknown, { readonly name: string; readonly codes: readonly string[] }>();

/**
 * The base of every error of lockmgr. Wrong arguments throw the platform's `TypeError` and `RangeError` instead. A clone
 * as `postMessage` makes it has the message alone: send `{ ...error, message: error.message }`.
 *
 * @example
 * ```ts
 * import { LockError, Locked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * const error = new Locked("jobs");
 * assert(error instanceof LockError);
 * assert.equal(error.code, "LOCKED");
 * ```
 */
export class LockError extends Error {
  /** A stable code for programs. */
  readonly code: string = "LOCK";

  /** Makes an error with the error that caused it. Invisible characters of the message are escaped; line ends stay. */
  constructor(message: string, options?: ErrorOptions) {
    super(message.split("\n").map((line) => escapeInvisible(line)).join("\n"), options);
    this.name = classes.get(new.target)?.name ?? new.target.name;
  }

  /** Recognises errors by their code, so that those of another copy of this package are recognised too. */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this, value)) return true;
    const codes = classes.get(this)?.codes;
    return codes !== undefined && value instanceof Error && LOCK_ERROR in value &&
      (codes.length === 0 || codes.includes((value as Error as LockError).code));
  }
}
Object.defineProperty(LockError.prototype, LOCK_ERROR, { value: true });

/** Describes the holder, if it is known. */
function heldBy(holder: LockRecord | undefined): string {
  if (holder === undefined) return "held by another client";
  if (holder.lockedBy === "") return `kept until ${holder.lockedUntil?.toISOString()} after its release (holdAtLeast)`;
  const pid = holder.lockProcess === null ? "" : ` (pid ${holder.lockProcess})`;
  const expiry = holder.lockedUntil === null ? "with no expiry" : `until ${holder.lockedUntil.toISOString()}`;
  return `held by ${JSON.stringify(holder.lockedBy)}${pid} ${expiry}`;
}

/**
 * The name is held by another client. A failure of the database is a `BackendError` instead. `LockTimeout` and
 * `LockFail` extend this one.
 *
 * @example
 * ```ts
 * import { connect, getLock, Locked } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend, lockedBy: "host-a" });
 * await assert.rejects(getLock("jobs", { backend }), (error) => {
 *   assert(error instanceof Locked);
 *   assert.equal(error.holder?.lockedBy, "host-a");
 *   return true;
 * });
 * ```
 */
export class Locked extends LockError {
  /** Always `"LOCKED"`. */
  override readonly code: string = "LOCKED";
  /** The requested name. */
  readonly lockName: string;
  /** The lock of the holder, if the database could tell. */
  readonly holder?: LockRecord;

  /** Makes the error for a name and the lock of its holder, if it is known. */
  constructor(lockName: string, holder?: LockRecord, message?: string) {
    super(message ?? `Cannot acquire lock ${JSON.stringify(lockName)}: ${heldBy(holder)}`);
    this.lockName = lockName;
    if (holder !== undefined) this.holder = holder;
  }
}

/**
 * The name was still held at the end of the caller's `wait`.
 *
 * @example
 * ```ts
 * import { connect, getLock, LockTimeout } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("jobs", { backend });
 * await assert.rejects(getLock("jobs", { backend, wait: 0.01 }), LockTimeout);
 * ```
 */
export class LockTimeout extends Locked {
  /** Always `"LOCK_TIMEOUT"`. */
  override readonly code: string = "LOCK_TIMEOUT";

  /** Makes the error for a name, the seconds waited and the lock of the holder, if it is known. */
  constructor(lockName: string, waited: number, holder?: LockRecord) {
    super(
      lockName,
      holder,
      `Cannot acquire lock ${JSON.stringify(lockName)} within ${waited} s: ${heldBy(holder)}`,
    );
  }
}

/**
 * `setLock(…, { fail: true })` found a name that is held; nothing was changed.
 *
 * @example
 * ```ts
 * import { connect, getLock, isLocked, LockFail, setLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await getLock("world", { backend });
 * await assert.rejects(setLock(["hello", "world"], { backend, fail: true }), LockFail);
 * assert.equal(await isLocked("hello", { backend }), false);
 * ```
 */
export class LockFail extends Locked {
  /** Always `"LOCK_FAIL"`. */
  override readonly code: string = "LOCK_FAIL";

  /** The record of the holder. */
  get lock(): LockRecord | undefined {
    return this.holder;
  }
}

/**
 * There is no such lock: it was never acquired, or was released, or has expired.
 *
 * @example
 * ```ts
 * import { connect, LockNotFound, renewLock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * await assert.rejects(renewLock("jobs", { backend }), LockNotFound);
 * ```
 */
export class LockNotFound extends LockError {
  /** Always `"LOCK_NOT_FOUND"`. */
  override readonly code: string = "LOCK_NOT_FOUND";
  /** The name. */
  readonly lockName: string;

  /** Makes the error for a name; `message` replaces the usual sentence. */
  constructor(lockName: string, message?: string, options?: ErrorOptions) {
    super(message ?? `Cannot find lock ${JSON.stringify(lockName)}: no client holds it`, options);
    this.lockName = lockName;
  }
}

/**
 * This handle no longer holds the lock: it expired, was released by force, or the database did not confirm it in time.
 * Another client may hold the name. It is the reason of a lock's aborted `signal`.
 *
 * @example
 * ```ts
 * import { connect, getLock, LockLost, unlock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * await unlock("jobs", { backend }); // an administrator's force
 * await assert.rejects(lock.renew(), LockLost);
 * assert(lock.signal.aborted);
 * ```
 */
export class LockLost extends LockNotFound {
  /** Always `"LOCK_LOST"`. */
  override readonly code: string = "LOCK_LOST";

  /** Makes the error for a name and the reason of the loss. */
  constructor(lockName: string, reason: string, options?: ErrorOptions) {
    super(lockName, `Cannot keep lock ${JSON.stringify(lockName)}: ${reason}`, options);
  }
}

/**
 * The database could not answer, or answered with an error. It says nothing about the holder of a lock.
 *
 * @example
 * ```ts
 * import { BackendError, connect } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await assert.rejects(connect("sqlite:/no/such/directory/locks.db"), BackendError);
 * ```
 */
export class BackendError extends LockError {
  /** Always `"BACKEND"`. */
  override readonly code: string = "BACKEND";
  /** Whether the same call may succeed when it is repeated. */
  readonly retryable: boolean;

  /** Makes the error; `retryable` is `false` by default. */
  constructor(message: string, options: ErrorOptions & { retryable?: boolean } = {}) {
    super(message, options);
    this.retryable = options.retryable ?? false;
  }
}

/**
 * The engine or the mode cannot do what was asked for.
 *
 * @example
 * ```ts
 * import { connect, UnsupportedError } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await assert.rejects(connect("sqlite::memory:", { mode: "session" }), UnsupportedError);
 * ```
 */
export class UnsupportedError extends LockError {
  /** Always `"UNSUPPORTED"`. */
  override readonly code: string = "UNSUPPORTED";
}

classes.set(LockError, { name: "LockError", codes: [] }); // every code
classes.set(Locked, { name: "Locked", codes: ["LOCKED", "LOCK_TIMEOUT", "LOCK_FAIL"] });
classes.set(LockTimeout, { name: "LockTimeout", codes: ["LOCK_TIMEOUT"] });
classes.set(LockFail, { name: "LockFail", codes: ["LOCK_FAIL"] });
classes.set(LockNotFound, { name: "LockNotFound", codes: ["LOCK_NOT_FOUND", "LOCK_LOST"] });
classes.set(LockLost, { name: "LockLost", codes: ["LOCK_LOST"] });
classes.set(BackendError, { name: "BackendError", codes: ["BACKEND"] });
classes.set(UnsupportedError, { name: "UnsupportedError", codes: ["UNSUPPORTED"] });
