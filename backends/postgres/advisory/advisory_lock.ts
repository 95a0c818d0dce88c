import type { Backend } from "../../../core/backend.ts";
import { LockLost, LockTimeout } from "../../../core/errors.ts";
import { checkOptions, type KnownOptions } from "../../../core/options/known_options.ts";
import { microseconds } from "../../../core/options/options.ts";
import { isBunSql } from "../../../core/options/refused_client.ts";
import { warn } from "../../../core/util/runtime.ts";
import { type AdvisoryHash, type AdvisoryId, type AdvisoryKey, advisoryKey } from "./key.ts";
import {
  isInstance,
  isSql,
  isTransaction,
  type PostgresSql,
  type PostgresTransaction,
  sourceOf,
  type Transaction,
} from "../connection/driver.ts";
import { sourceOfClient, sourceOfPool } from "../connection/pg_connection.ts";
import {
  checkPgPool,
  isPgClient,
  isPgPool,
  type PostgresClient,
  type PostgresPool,
  transactionOn,
} from "../connection/pg_driver.ts";
import { translate } from "../errors.ts";
import { advisorySessions, type Origin } from "./sessions.ts";
import { acquireInTransaction, inTurn } from "./transaction_lock.ts";
import { type Acquired, outcomeOf, type Wait } from "./waiting.ts";

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
  /** Lets other clients hold it at the same time, as long as they share it too. @default false */
  shared?: boolean;
  /** Waits in the server's own queue until it is free; `false` tries once. @default true */
  wait?: boolean;
  /** Seconds to wait at most. @default Infinity */
  timeout?: number;
  /** Ends the wait with its reason when it aborts. */
  signal?: AbortSignal;
  /** An SQL comment in the statement, which `pg_stat_activity` shows. */
  comment?: string;
  /** How the key of a text is computed; `"crc32"` as by django-pglocks 1. @default "sha256" */
  key?: AdvisoryHash;
}

const OPTIONS: KnownOptions<AdvisoryLockOptions> = {
  timeout: "number",
  signal: "object",
  shared: "boolean", // the first by position in django-pglocks
  wait: "boolean",
  key: "string",
  comment: "string",
};

/**
 * The outcome of `advisoryLock`: an advisory lock of PostgreSQL, or `acquired: false`. Disposal releases it.
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
  #lock: Acquired | undefined;
  #loss: AbortController | undefined;
  #unwatch: (() => void) | undefined;

  /** Made by `advisoryLock`. */
  constructor(key: AdvisoryKey, shared: boolean, lock: Acquired | undefined) {
    this.key = key;
    this.shared = shared;
    this.acquired = lock !== undefined;
    this.#lock = lock;
  }

  /** Aborts with a `LockLost` when the session it rides on ends. A transaction lock ends with its transaction. */
  get signal(): AbortSignal {
    if (this.#loss === undefined) {
      const loss = this.#loss = new AbortController();
      const session = this.#lock?.session;
      const abort = () => {
        const reason = "the session that kept it has ended";
        if (this.#lock) loss.abort(new LockLost(String(this.key), reason, { cause: session?.ended }));
      };
      if (session?.ended) abort();
      else this.#unwatch = session?.onEnd(abort);
    }
    return this.#loss.signal;
  }

  /**
   * Releases a session lock. A transaction lock stays until its transaction ends, so no other client sees what it guards
   * before it is committed.
   *
   * @returns `true` if it was still held and is free now; `false` also for a transaction lock.
   * @throws {BackendError} When the server does not answer; the session then ends, and the lock with it.
   */
  async release(): Promise<boolean> {
    const lock = this.#lock;
    this.#lock = undefined;
    this.#unwatch?.();
    return lock === undefined ? false : await lock.release();
  }

  /** Releases it, once. A release that fails becomes a warning of the process: it must not hide another error. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.release().catch(warn);
  }
}

/**
 * Acquires an advisory lock of PostgreSQL: in a transaction of the caller's one that ends with it, otherwise one that a
 * connection of its own carries until it is released. It waits in the server's own queue, fair beside every other program
 * that waits there, on that connection or behind a savepoint of the transaction, whose own time limits do not count.
 * Calls on one transaction take turns; send nothing else on it until they have returned, or a time-out may undo it.
 *
 * @example
 * ```ts
 * import type { Backend } from "@lockmgr/lockmgr";
 * import { advisoryLock } from "@lockmgr/lockmgr/postgres";
 *
 * export async function report(backend: Backend): Promise<void> {
 *   await using lock = await advisoryLock(backend, "report:monthly", { wait: false, key: "crc32" });
 *   if (lock.acquired) console.log("no django-pglocks program holds it");
 * }
 * ```
 *
 * @param client A backend of this engine, a `sql` instance of postgres.js or its transaction, or a pool or client of
 * node-postgres. What is not in a transaction is not used itself: a connection with its options is opened.
 * @param id A text, a whole number of 64 bits, or two of 32.
 * @param options Sharing, waiting and the kind of key.
 * @returns The lock; with `wait: false` its `acquired` says whether it was free.
 * @throws {LockTimeout} When it was still held after `timeout` seconds.
 * @throws {TypeError | RangeError} For an invalid id, option or client, before a statement is sent.
 * @throws {UnsupportedError} Where sessions cannot be trusted, such as behind a pooler in transaction mode.
 * @throws {BackendError} When the server does not answer, or finds a deadlock of transactions: `retryable`, and its `cause`
 * has the code `40P01`.
 * @throws The reason of `signal`, when that ends the wait.
 */
export async function advisoryLock(
  client: Backend | PostgresSql | PostgresTransaction | PostgresPool | PostgresClient,
  id: AdvisoryId,
  options: AdvisoryLockOptions = {},
): Promise<AdvisoryLock> {
  checkOptions("of advisoryLock", options, OPTIONS);
  const { shared = false, wait = true, timeout, signal, comment, key: hash = "sha256" } = options;
  if (typeof client === "string") throw noClient("a text"); // an id in the place of the client, as in django-pglocks
  const limit = timeout === undefined ? Infinity : timeoutOf(timeout);
  const prefix = commentOf(comment);
  const key = await advisoryKey(id, hash);
  const what = `acquire advisory lock ${typeof id === "string" ? JSON.stringify(id) : String(id)}`;
  let acquired: Acquired | undefined;
  try {
    acquired = await outcomeOf(await attemptOn(client, key, shared, prefix), wait ? limit : undefined, signal);
  } catch (error) {
    throw signal?.aborted && error === signal.reason ? error : translate(what, error);
  }
  if (wait && acquired === undefined) throw new LockTimeout(String(id), timeout!);
  return new AdvisoryLock(key, shared, acquired);
}

/** Seconds of silence after which the server ends the session of a lock on a client of the caller's. */
const SESSION_TIMEOUT = 15;

/** Returns how to acquire a lock through this client. */
async function attemptOn(
  client: unknown,
  key: AdvisoryKey,
  shared: boolean,
  prefix: string,
): Promise<(wait: Wait) => Promise<Acquired | undefined>> {
  const within = (transaction: Transaction, wait: Wait) => acquireInTransaction(transaction, key, shared, prefix, wait);
  if (isTransaction(client)) return (wait) => inTurn(client, wait, () => within(client, wait));
  if (isSql(client) && !isInstance(client)) {
    throw new TypeError('Cannot take an advisory lock on a reserved connection: want its "sql", or a transaction');
  }
  const origin = await originOf(client);
  if (origin === undefined && (client as Partial<Backend> | null | undefined)?.engine !== "postgres") {
    throw noClient("this");
  }
  const sessions = advisorySessions(client as object, origin);
  const onSession = (wait: Wait) => sessions.acquire(key, shared, prefix, wait);
  if (!isPgClient(client)) return onSession;
  return async (wait) => {
    const inside = await inTurn(client, wait, async () => {
      const transaction = await transactionOn(client);
      return transaction ? { acquired: await within(transaction, wait) } : null;
    });
    return inside === null ? await onSession(wait) : inside?.acquired;
  };
}

function noClient(what: string): TypeError {
  const wanted = 'a PostgreSQL backend, a "sql" of postgres.js, or a pool or client of "pg"';
  return new TypeError(`Cannot take an advisory lock on ${what}: want ${wanted}, and then the id`);
}

/** Returns where the sessions for a caller's own client come from. */
async function originOf(client: unknown): Promise<Origin | undefined> {
  if (isBunSql(client)) {
    throw new TypeError('Cannot take an advisory lock on Bun\'s "SQL": want a backend made from a URL');
  }
  if (isInstance(client)) return { source: await sourceOf(client.options), timeout: SESSION_TIMEOUT };
  if (isPgClient(client)) return { source: sourceOfClient(client), timeout: SESSION_TIMEOUT };
  if (!isPgPool(client)) return undefined;
  checkPgPool(client);
  return { source: sourceOfPool(client), timeout: SESSION_TIMEOUT };
}

/** Seconds as milliseconds; here zero means one try. */
function timeoutOf(timeout: unknown): number {
  const limit = microseconds("timeout", timeout);
  return timeout === 0 ? 0 : limit === null ? Infinity : limit / 1e3;
}

/** A comment that its text can neither end nor nest. */
function commentOf(comment: unknown): string {
  if (comment === undefined) return "";
  if (typeof comment !== "string" || comment.includes("\0")) {
    throw new TypeError("Cannot use this comment: want a text without NUL");
  }
  return `/* ${comment.replaceAll("*/", "* /").replaceAll("/*", "/ *")} */ `;
}
