/**
 * How long a call waits for an advisory lock, and what ends its wait.
 *
 * @module
 */
import type { SessionHandle } from "../../../core/backend.ts";
import { BackendError } from "../../../core/errors.ts";
import { withDeadline } from "../../../core/util/deadline.ts";
import { afterReads, monotonic, startTimer, type Timer } from "../../../core/util/runtime.ts";
import { cancelStatement, type Query, type SqlResult } from "../connection/driver.ts";

/** How long a statement that was told to end may take to answer (ms). */
const LAST_ANSWER_MS = 1_000;
/** The longest `lock_timeout` (ms). */
const LONGEST_LOCK_TIMEOUT_MS = 2 ** 31 - 1;

/**
 * SQL by which a server on Linux (PostgreSQL 14 and later) notices within half a second that a waiting client has died:
 * it would otherwise stay in the queue until it is granted the lock. Other platforms refuse the setting.
 */
export function noticeDeath(local: boolean): string {
  return `CASE WHEN current_setting('client_connection_check_interval', true) IS NOT NULL AND version() ~ 'linux'
    THEN set_config('client_connection_check_interval', '500', ${local}) END`;
}

/** An acquired advisory lock. */
export interface Acquired {
  /** Releases it; returns whether it was still held. */
  readonly release: () => Promise<boolean>;
  /** The session that carries it; a transaction lock has none. */
  readonly session?: SessionHandle;
}

/** How long an attempt waits. */
export interface Wait {
  /** When the wait is over (ms, monotonic); `undefined` tries once. */
  readonly deadline: number | undefined;
  /** Aborts when the statement that waits must be cancelled. */
  readonly ending: AbortSignal;
}

/** Returns the `lock_timeout` (ms, as text) for what is left of the wait; `undefined` when nothing is. */
export function lockTimeoutOf({ deadline }: Wait): string | undefined {
  const left = deadline === undefined ? 0 : deadline - monotonic();
  if (left <= 0) return undefined;
  return left === Infinity ? "0" : String(Math.min(Math.ceil(left), LONGEST_LOCK_TIMEOUT_MS));
}

/** Waits for a statement, which `ending` cancels. A cancellation has reached the server before this returns. */
export async function cancellable(query: Query, ending: AbortSignal): Promise<SqlResult> {
  ending.throwIfAborted(); // the driver has not sent it yet
  let cancelled: Promise<void> | undefined;
  const cancel = () => cancelled = cancelStatement(query).catch(() => {}); // the answer decides
  ending.addEventListener("abort", cancel, { once: true });
  try {
    return await query;
  } finally {
    ending.removeEventListener("abort", cancel);
    if (cancelled) await withDeadline(LAST_ANSWER_MS, cancelled);
  }
}

/**
 * Runs an attempt until its outcome. The server ends a wait at its deadline; where it does not, and when `signal` aborts,
 * the attempt is told to end. What it is granted afterwards is released.
 *
 * @param limit How long it waits (ms); `undefined` tries once.
 * @throws {BackendError} When the server does not answer.
 * @throws The reason of `signal`.
 */
export async function outcomeOf(
  attempt: (wait: Wait) => Promise<Acquired | undefined>,
  limit: number | undefined,
  signal: AbortSignal | undefined,
): Promise<Acquired | undefined> {
  signal?.throwIfAborted();
  const ending = new AbortController();
  const silence = Promise.withResolvers<never>();
  let timer: Timer | undefined;
  const expire = (delay: number, action: () => void) => timer = startTimer(delay, () => afterReads(action), true);
  const giveUp = () => {
    const message = "Cannot get an answer of PostgreSQL before the wait is over";
    silence.reject(new BackendError(message, { retryable: true }));
  };
  const end = () => {
    timer?.stop();
    ending.abort();
    expire(LAST_ANSWER_MS, giveUp);
  };
  if (limit !== undefined && limit < Infinity) expire(limit + LAST_ANSWER_MS, end);
  signal?.addEventListener("abort", end, { once: true });
  const deadline = limit === undefined ? undefined : monotonic() + limit;
  const answer = attempt({ deadline, ending: ending.signal });
  try {
    const acquired = await Promise.race([answer, silence.promise]);
    if (!signal?.aborted || (acquired && acquired.session === undefined)) return acquired;
    await acquired?.release();
  } catch (error) {
    answer.then((late) => late?.release()).catch(() => {}); // it ends with its session
    if (!signal?.aborted) throw error;
  } finally {
    timer?.stop();
    signal?.removeEventListener("abort", end);
  }
  throw signal.reason;
}
