/**
 * What a backend can tell of its server, for people who look for a reason. Part of the seam in `backend.ts`.
 *
 * @module
 */

/**
 * One thing that was looked at in a database, and what it means for locks.
 *
 * @example
 * ```ts
 * import { connect, type Diagnostic } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const findings: readonly Diagnostic[] = await backend.diagnose?.() ?? [];
 * assert(findings.every(({ state }) => state !== "problem"));
 * ```
 */
export interface Diagnostic {
  /** What was looked at, in a word or two. */
  readonly what: string;
  /** Whether it is well, worth knowing, worth a change, or in the way. */
  readonly state: "ok" | "note" | "warning" | "problem";
  /** What is. */
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string;
}

/**
 * A connection to the server, as the server itself knows it.
 *
 * @example
 * ```ts
 * import { connect, getLock, type ServerConnection } from "@lockmgr/lockmgr";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL;
 * if (url?.startsWith("postgres:")) {
 *   await using backend = await connect(url, { mode: "hybrid" });
 *   await using lock = await getLock("jobs", { backend });
 *   const [{ holders: [holder] }] = await backend.observe!([lock.name]);
 *   const { session, client = "an unknown address" }: ServerConnection = holder;
 *   console.log(`session ${session} from ${client}`);
 * }
 * ```
 */
export interface ServerConnection {
  /** The server's process or connection id. */
  readonly session: string;
  /** Where its client is: an address, or `"local"` for a socket of the server's own machine. Absent where the server does not tell. */
  readonly client?: string;
  /** What its client calls itself. Absent where the server does not tell. */
  readonly program?: string;
}

/**
 * Who the server knows to have to do with a name.
 *
 * @example
 * ```ts
 * import { connect, getLock, type LockActivity } from "@lockmgr/lockmgr";
 * import process from "node:process";
 *
 * const url = process.env.LOCKMGR_URL;
 * if (url?.startsWith("postgres:")) {
 *   await using backend = await connect(url);
 *   const [{ waiters = [] }]: readonly LockActivity[] = await backend.observe!(["jobs"]);
 *   console.log(`${waiters.length} processes wait`);
 * }
 * ```
 */
export interface LockActivity {
  /** The name. */
  readonly name: string;
  /** The connections that the lock rides on: none for a lease, several for one that is shared. */
  readonly holders: readonly ServerConnection[];
  /**
   * The connections that wait for it, one for each process. Absent where the server knows nothing of waiters; those who
   * ask it now and then, as through a pooler, are never among them.
   */
  readonly waiters?: readonly ServerConnection[];
}
