import type { Backend } from "../../../core/backend.ts";
import { LockLost, LockTimeout } from "../../../core/errors.ts";
import { microseconds } from "../../../core/options/options.ts";
import { warn } from "../../../core/util/runtime.ts";
import { attemptOn, take, type Taken } from "./attempt.ts";
import { type AdvisoryHash, type AdvisoryId, type AdvisoryKey, advisoryKey } from "./key.ts";
import type { PostgresSql, PostgresTransaction } from "../connection/driver.ts";
import { translate } from "../errors.ts";

/**
 * Options of `advisoryLock`.
 *
 * @example
 * ```ts
 * import { type AdvisoryLockOptions } from "@lockmgr/lockmgr/postgres";
 *
 * export const patient: AdvisoryLockOptions = { timeout: 30, comment: "monthly report", key: "crc32" };
 * ```
 */
export interface AdvisoryLockOptions {
  /** Lets others hold it at the same time, as long as they share too. @default false */
  shared?: boolean;
  /** Waits until it is free; `false` tries once. @default true */
  wait?: boolean;
  /** Seconds to wait at most. @default Infinity */
  timeout?: number;
  /** Words for people, put into the statement as an SQL comment: `pg_stat_activity` shows them. */
  comment?: string;
  /** How the key of a text is computed; `"crc32"` as by django-pglocks 1. @default "sha256" */
  key?: AdvisoryHash;
}

/**
 * An advisory lock of PostgreSQL, or the knowledge that it could not be had. Made by `advisoryLock`; disposal
 * releases it.
 *
 * @example
 * ```ts
 * import type { AdvisoryLock } from "@lockmgr/lockmgr/postgres";
 *
 * export function describe({ acquired, shared, key }: AdvisoryLock): string {
 *   return `${acquired ? "holds" : "waits for"} ${shared ? "a shared" : "an exclusive"} lock ${key}`;
 * }
 * ```
 */
export class AdvisoryLock implements AsyncDisposable {
  /** Whether it was acquired. */
  readonly acquired: boolean;
  /** Whether it is shared. */
  readonly shared: boolean;
  /** The key as the server knows it. */
  readonly key: AdvisoryKey;
  #taken: Taken | undefined;
  #loss: AbortController | undefined;

  /** Made by this library from an attempt. */
  constructor(key: AdvisoryKey, shared: boolean, taken: Taken | undefined) {
    this.key = key;
    this.shared = shared;
    this.acquired = taken !== undefined;
    this.#taken = taken;
  }

  /** Aborts with a `LockLost` when the session it rides on ends. A transaction lock ends with its transaction. */
  get signal(): AbortSignal {
    if (this.#loss === undefined) {
      const loss = this.#loss = new AbortController();
      const lifeline = this.#taken?.lifeline;
      const abort = () => {
        const reason = "the session that kept it has ended";
        if (this.#taken) loss.abort(new LockLost(String(this.key), reason, { cause: lifeline?.ended }));
      };
      if (lifeline?.ended) abort();
      else lifeline?.onEnd(abort);
    }
    return this.#loss.signal;
  }

  /**
   * Releases a session lock. A transaction lock stays until its transaction ends, so that nobody sees what it guards
   * before it is committed.
   *
   * @returns `true` if it was still held and is free now; `false` also for a transaction lock.
   * @throws {BackendError} When the server could not answer; the session is then given up, and the lock with it.
   */
  async release(): Promise<boolean> {
    const taken = this.#taken;
    this.#taken = undefined;
    return taken === undefined ? false : await taken.release();
  }

  /** Releases it, once. A release that fails becomes a warning of the process, so that it hides no other error. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.release();
    } catch (error) {
      warn(error as Error);
    }
  }
}

/**
 * Takes an advisory lock of PostgreSQL: inside a transaction of the caller's one that ends with it, else one that a
 * session of our own keeps until it is released.
 *
 * @example
 * ```ts
 * import type { Backend } from "@lockmgr/lockmgr";
 * import { advisoryLock } from "@lockmgr/lockmgr/postgres";
 *
 * export async function report(backend: Backend): Promise<void> {
 *   await using lock = await advisoryLock(backend, "report:monthly", { wait: false, key: "crc32" });
 *   if (lock.acquired) console.log("no django-pglocks program is at it");
 * }
 * ```
 *
 * @param client A backend of this engine, a `sql` instance of postgres.js, or its transaction.
 * @param id A text, a whole number of 64 bits, or two of 32.
 * @param options Sharing, waiting and the kind of key.
 * @returns The lock; with `wait: false` its `acquired` says whether it could be had.
 * @throws {LockTimeout} When it was still held after `timeout` seconds.
 * @throws {TypeError | RangeError} For an id, option or client that cannot be, before anything is asked.
 * @throws {UnsupportedError} Where sessions cannot be trusted, such as behind a pooler in transaction mode.
 * @throws {BackendError} When the server could not answer.
 */
export async function advisoryLock(
  client: Backend | PostgresSql | PostgresTransaction,
  id: AdvisoryId,
  options: AdvisoryLockOptions = {},
): Promise<AdvisoryLock> {
  const { shared = false, wait = true, timeout, comment, key: hash = "sha256" } = options;
  const limit = timeout === undefined ? Infinity : timeoutOf(timeout);
  const prefix = commentOf(comment);
  const key = await advisoryKey(id, hash);
  const what = `acquire advisory lock ${typeof id === "string" ? JSON.stringify(id) : String(id)}`;
  try {
    const taken = await take(await attemptOn(client, key, shared, prefix), wait ? limit : undefined);
    if (wait && taken === undefined) throw new LockTimeout(String(id), timeout!);
    return new AdvisoryLock(key, shared, taken);
  } catch (error) {
    throw translate(what, error);
  }
}

/** Seconds as milliseconds; zero is no time at all here. */
function timeoutOf(timeout: unknown): number {
  const limit = microseconds("timeout", timeout);
  return timeout === 0 ? 0 : limit === null ? Infinity : limit / 1e3;
}

/** A comment that nothing in it can end or nest. */
function commentOf(comment: unknown): string {
  if (comment === undefined) return "";
  if (typeof comment !== "string" || comment.includes("\0")) {
    throw new TypeError("Cannot use this comment: want a text without NUL");
  }
  return `/* ${comment.replaceAll("*/", "* /").replaceAll("/*", "/ *")} */ `;
}
