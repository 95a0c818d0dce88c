import { Backoff } from "../../../core/util/backoff.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { isRowLocked } from "../errors.ts";
import type { LockTable } from "./lock_table.ts";

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
  table: LockTable,
  error: Error,
  attempt: () => Promise<{ readonly answer: T } | undefined>,
): Promise<T> {
  const until = monotonic() + LOCKED_ROW_MS;
  const backoff = new Backoff(PAUSES);
  while (monotonic() < until) {
    await table.pause(backoff.next());
    const found = await attempt();
    if (found) return found.answer;
  }
  throw error;
}

/** Sends a request, and repeats it while its row is locked. */
export async function whenUnlocked<T>(table: LockTable, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!isRowLocked((error as Error).cause)) throw error;
    return await retryWhileLocked(table, error as Error, async () => {
      try {
        return { answer: await send() };
      } catch (error) {
        if (isRowLocked((error as Error).cause)) return undefined;
        throw error;
      }
    });
  }
}
