import { isBroken, isEndedByServer, isNotPrimary } from "../errors.ts";
import type { AbandonedConnections, About } from "./abandoned.ts";
import { AnswerTimeout } from "./answer_timeout.ts";
import type { Query, SqlResult } from "./driver.ts";

/** Sends statements. */
export interface Client {
  /** Whether statements may be prepared at the server: only once it is known that no proxy is in between. */
  prepare: boolean;
  /**
   * Sends one statement with text parameters, once no statement that was given up before can take effect on the locks
   * that it is about.
   */
  send(text: string, parameters?: (string | null)[], about?: About): Promise<SqlResult>;
  /** Replaces connections of our own, since they may not lead to the primary. */
  discard?(): void;
  /** Closes what was opened here. */
  close(): Promise<void>;
}

/** What fails when the backend is disposed of meanwhile. */
export const SEND = "send a statement";

/**
 * Makes sure that a statement without an answer does not take effect later.
 *
 * @param query The statement, where its connection is the caller's and stays.
 */
export function abandon(
  abandoned: AbandonedConnections | undefined,
  pid: string,
  about: About,
  error: unknown,
  query?: Query,
): void {
  if (isNotPrimary(error)) return; // it was answered
  const late = error instanceof AnswerTimeout;
  if (isEndedByServer(error)) abandoned?.noteEnded(pid);
  else if (late && query) abandoned?.cancel(pid, about, query);
  else if (late || isBroken(error)) abandoned?.add(pid, about);
}
