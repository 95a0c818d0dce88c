import { withDeadline } from "../../../core/util/deadline.ts";
import { Unanswered } from "../../../core/util/in_progress.ts";
import type { SqlResult } from "./driver.ts";

/** Locks that a statement is about. */
export type About = readonly { readonly name: string }[];

/** Sends statements. */
export interface Client {
  /** Whether statements may be prepared at the server: only once it is known that no proxy is in between. */
  prepare: boolean;
  /** Sends one statement with text parameters. */
  send(text: string, parameters?: (string | null)[], about?: About): Promise<SqlResult>;
  /** Replaces connections of our own, since they may not lead to the primary. */
  discard?(): void;
  /** Closes what was opened here. */
  close(): Promise<void>;
}

/** What fails when the backend is disposed of meanwhile. */
export const SEND = "send a statement";

/** Seconds to wait for an answer. */
export const DEFAULT_ANSWER_TIMEOUT = 15;

/**
 * Waits for an answer.
 *
 * @param late Called when there is none in time.
 * @throws {Unanswered} When there is none in time.
 */
export function answerWithin<T>(seconds: number, answer: PromiseLike<T>, late?: () => void): Promise<T> {
  return withDeadline(seconds * 1e3, answer, () => {
    late?.();
    throw new Unanswered(`Cannot get an answer of PostgreSQL within ${seconds} s`, { retryable: true });
  });
}
