import type { Backend, LockRow, OwnedLock, SessionHandle } from "./backend.ts";
import type { LockRecord } from "./lock/lock_record.ts";

/**
 * A granted lock: its row, when it was asked for, and the session that carries it, if any.
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
  /** The name and owner for every later request. */
  readonly claim: OwnedLock;
  /** The row as granted. */
  readonly row: LockRow;
  /** Monotonic time (ms) before the request was sent, or later: the lease lasts from then on, at least. */
  readonly askedAt: number;
  /** The session that carries the lock. */
  readonly session?: SessionHandle;
}

/** The result of an attempt to acquire: the grant, or the holder as far as it is known. */
export type Outcome =
  & (
    | { readonly granted: true; readonly grant: Grant }
    | { readonly granted: false; readonly holder: LockRecord | undefined }
  )
  & {
    /** How many requests were sent in the same batch as the last one. */
    readonly batch: number;
    /** Whether the name was held, or others of this process waited for it, when it was asked for. */
    readonly contended: boolean;
  };
