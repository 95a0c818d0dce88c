/**
 * What a backend can report about its server. Part of the seam in `backend.ts`.
 *
 * @module
 */

/**
 * The result of one check of a database, and what it means for locks.
 *
 * @example
 * ```ts
 * import { connect, type Diagnostic } from "@lockmgr/lockmgr";
 * import assert from "node:assert/strict";
 *
 * await using backend = await connect("sqlite::memory:");
 * const diagnostics: readonly Diagnostic[] = await backend.diagnose?.() ?? [];
 * assert(diagnostics.every(({ state }) => state !== "problem"));
 * ```
 */
export interface Diagnostic {
  /** What was checked, in a word or two. */
  readonly what: string;
  /** Whether it is fine, worth knowing, worth a change, or prevents locks. */
  readonly state: "ok" | "note" | "warning" | "problem";
  /** The result. */
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string;
}

/**
 * A connection to the server, as the server knows it.
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
  /** The client's address, or `"local"` for a Unix socket. Absent if the server does not tell. */
  readonly client?: string;
  /** The client's name for itself. Absent if the server does not tell. */
  readonly program?: string;
}

/**
 * The connections that hold a name and wait for it.
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
  /** The connections that carry the lock: none for a lease, several for a shared lock. */
  readonly holders: readonly ServerConnection[];
  /**
   * The connections that wait, one for each process. Absent if the server knows of no waiters. Processes that poll, such
   * as through a pooler, are never among them.
   */
  readonly waiters?: readonly ServerConnection[];
}
