/**
 * A lock as engines answer it.
 *
 * @module
 */

/**
 * How locks are kept.
 *
 * - `"lease"`: a row that expires. Works everywhere; the default.
 * - `"session"`: the server's own lock on one of our connections, free as soon as that ends. No row, no expiry.
 * - `"hybrid"`: a row that is free when it expires or when the connection of its holder ends, whichever is first.
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
 * A JSON value.
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
 * One lock as the database answered it. Times are whole microseconds since 1970 by the server's clock.
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
  /** The holder's name for people: a host name by default. */
  readonly lockedBy: string;
  /** A number for people, such as a process id. */
  readonly lockProcess: number | null;
  /** When it expires; `null` is never. */
  readonly lockedUntil: number | null;
  /** When it was acquired. */
  readonly createdAt: number;
  /** When it was last acquired or renewed. */
  readonly updatedAt: number;
  /** JSON text stored with the lock. */
  readonly metadata: string | null;
  /** The server's clock when it answered. */
  readonly now: number;
  /** The server's process or connection id of the session that carries the lock. Absent for a lease. */
  readonly session?: string | null;
  /** How many holders this acquisition admits: 1 is exclusive, `Infinity` shared. @default 1 */
  readonly limit?: number;
  /** How many clients waited for the name when the row was read, where the engine keeps a queue. @default 0 */
  readonly waiters?: number;
  /** These clients, the next one first, in the answers of `list`. @default none */
  readonly queue?: readonly WaiterRow[];
}

/**
 * One waiter of a name as the database answered it.
 *
 * @example
 * ```ts
 * import { connect, getLock, type WaiterRow } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const lock = await getLock("jobs", { backend });
 * const next = getLock("jobs", { backend, wait: 5, lockedBy: "host-b" });
 * let queue: readonly WaiterRow[] = [];
 * while (queue.length === 0) queue = (await backend.list({ names: ["jobs"] }))[0].queue ?? [];
 * assert.equal(queue[0].lockedBy, "host-b");
 * await lock.unlock();
 * await (await next).unlock();
 * ```
 */
export type WaiterRow = Required<Pick<LockRow, "lockedBy" | "lockProcess" | "metadata" | "limit">>;
