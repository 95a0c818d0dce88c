import { BackendError } from "../../../core/errors.ts";
import { withDeadline } from "../../../core/util/deadline.ts";

/** Seconds to wait for an answer. */
export const DEFAULT_ANSWER_TIMEOUT = 15;

/** The error of an answer that did not come in time. */
export class AnswerTimeout extends BackendError {
  override name = "BackendError";
}

/**
 * Waits for an answer.
 *
 * @param late Called when there is none in time.
 * @throws {BackendError} When there is none in time.
 */
export function answerWithin<T>(seconds: number, answer: PromiseLike<T>, late?: () => void): Promise<T> {
  return withDeadline(seconds * 1e3, answer, () => {
    late?.();
    throw new AnswerTimeout(`Cannot get an answer of PostgreSQL within ${seconds} s`, { retryable: true });
  });
}
