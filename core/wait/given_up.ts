/**
 * The end of a wait for a database that does not answer.
 *
 * @module
 */
import { BackendError } from "../errors.ts";
import { monotonic, sleep } from "../util/runtime.ts";

/** How long a request may stay without an answer after its caller's deadline (ms): a slow commit. */
export const LAST_ANSWER_MS = 1_500;

/** The error after a wait for a name at whose end the database has not answered. */
export function noAnswer(name: string): BackendError {
  const silence = `the database has not answered for ${LAST_ANSWER_MS / 1e3} s`;
  const message = `Cannot acquire lock ${JSON.stringify(name)}: the wait is over, and ${silence}`;
  return new BackendError(message, { retryable: true });
}

/**
 * Waits for an answer about a name until shortly after the deadline (ms, monotonic), or until the signal aborts.
 *
 * @throws The signal's reason, or a retryable `BackendError` after the wait. A caller that does not wait has no deadline.
 */
export async function untilGivenUp<T>(
  answer: Promise<T>,
  name: string,
  { wait, signal }: { readonly wait: number; readonly signal?: AbortSignal },
  deadline: number,
): Promise<T> {
  if (wait === 0 && !signal) return await answer;
  const answered = new AbortController();
  const left = wait === 0 ? Infinity : Math.max(deadline - monotonic(), 0) + LAST_ANSWER_MS;
  const givenUp = sleep(left, AbortSignal.any([answered.signal, ...(signal ? [signal] : [])])).then(() => {
    throw noAnswer(name);
  });
  try {
    return await Promise.race([answer, givenUp]);
  } finally {
    answered.abort();
  }
}
