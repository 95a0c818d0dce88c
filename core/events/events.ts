/**
 * What the diagnostics channels carry. No event has an owner, a password or a URL.
 *
 * @module
 */
import type { Mode } from "../backend.ts";

/**
 * The message of the tracing channels `lockmgr.acquire`, `lockmgr.renew` and `lockmgr.release`: one object for each
 * call, the same from `start` to `asyncEnd`. `outcome`, `wait`, `batch` and `contended` are there at `asyncStart`.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockTrace } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 * import { subscribe } from "node:diagnostics_channel";
 *
 * const outcomes: unknown[] = [];
 * subscribe("tracing:lockmgr.acquire:asyncEnd", (message) => {
 *   const { name, outcome }: LockTrace = message as LockTrace;
 *   outcomes.push([name, outcome]);
 * });
 * await using backend = await connect("sqlite::memory:");
 * await using lock = await getLock("jobs", { backend });
 * assert.deepEqual(outcomes, [[lock.name, "granted"]]);
 * ```
 */
export interface LockTrace {
  /** The engine's name, such as `"sqlite"`. */
  readonly engine: string;
  /** How the backend keeps locks. */
  readonly mode: Mode;
  /** The name of the lock. */
  readonly name: string;
  /** The fencing token. Absent until the lock is granted, and for a release by name. */
  token?: bigint;
  /** Milliseconds from the call to its outcome. */
  wait?: number;
  /** How many requests were sent in the same batch as the last one of this call. */
  batch?: number;
  /** Of `lockmgr.acquire`: whether the name was held, or others of this process waited for it, when it was asked for. */
  contended?: boolean;
  /**
   * How it ended. Acquire: `"granted"`, `"busy"` or `"failed"`. Renew: `"renewed"`, `"gone"` or `"failed"`. Release:
   * `"released"`, `"gone"`, `"failed"`, `"disposed"` when its backend was disposed of, or `"detached"`.
   */
  outcome?: "granted" | "busy" | "renewed" | "released" | "gone" | "disposed" | "detached" | "failed";
  /** Why it failed; the reason of a wait's `signal` too. */
  error?: unknown;
}

/**
 * The message of the channel `lockmgr.lost`, published once when a lock is lost.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockLoss, unlock } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 * import { subscribe } from "node:diagnostics_channel";
 *
 * const losses: LockLoss[] = [];
 * subscribe("lockmgr.lost", (message) => losses.push(message as LockLoss));
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * await unlock("jobs", { backend }); // by force
 * assert.equal(await lock.verify(), false);
 * assert.deepEqual(losses.map(({ token, reason }) => [token, reason]), [
 *   [lock.token, "the database says that it is gone"],
 * ]);
 * ```
 */
export interface LockLoss {
  /** The engine's name, such as `"sqlite"`. */
  readonly engine: string;
  /** How the backend keeps locks. */
  readonly mode: Mode;
  /** The name of the lock. */
  readonly name: string;
  /** The fencing token. */
  readonly token: bigint;
  /** Why, as in the message of `LockLost`: a clause out of a handful. */
  readonly reason: string;
}
