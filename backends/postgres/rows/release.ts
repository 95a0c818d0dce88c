import type { LockRef } from "../../../core/backend.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { namesOf, ownerText } from "../../../core/util/requests.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { isRowLocked } from "../errors.ts";
import type { RowSender } from "./row_sender.ts";
import { refArrays } from "./rows.ts";
import type { Statements } from "./statements.ts";

/** How long the request for a locked row is repeated (ms), and the pauses between tries. */
const LOCKED_ROW_MS = 5_000;
const PAUSES = { first: 5, longest: 100, factor: 1.5, jitter: 0.5 };

/**
 * Repeats a request while its row is locked, holding no connection between tries.
 *
 * @param error What to throw when the row stays locked.
 * @param attempt One try; returns `undefined` while the row is locked.
 */
export async function retryWhileLocked<T>(
  sender: RowSender,
  error: Error,
  attempt: () => Promise<{ readonly answer: T } | undefined>,
): Promise<T> {
  const until = monotonic() + LOCKED_ROW_MS;
  const backoff = new Backoff(PAUSES);
  while (monotonic() < until) {
    await sender.pause(backoff.next());
    const found = await attempt();
    if (found) return found.answer;
  }
  throw error;
}

/** Releases locks; returns of each whether it was held. One lock whose row is locked is tried again for some seconds. */
export async function release(sender: RowSender, sql: Statements, targets: readonly LockRef[]): Promise<boolean[]> {
  const what = () => `release ${namesOf(targets)}`;
  if (targets.length > 1) {
    const [row] = await sender.send(what, sql.releaseEach, refArrays(targets), targets);
    return Array.from(row.released!, (digit) => digit === "1");
  }
  const [{ name }] = targets;
  const whose = ownerText(targets[0].owner);
  try {
    const [row] = await sender.send(what, sql.release, [name, whose], targets);
    return [row?.held === "true"];
  } catch (error) {
    if (!isRowLocked((error as Error).cause)) throw error;
    const released = await retryWhileLocked(sender, error as Error, async () => {
      const [row] = await sender.send(what, sql.releaseUnlocked, [name, whose], targets);
      if (row.released === "true") return { answer: true };
      return row.locked === "true" ? undefined : { answer: false };
    });
    return [released];
  }
}
