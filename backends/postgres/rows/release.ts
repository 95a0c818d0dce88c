import { namesOf } from "../../../core/util/requests.ts";
import type { LockRef } from "../../../core/backend.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { freedOf } from "./results.ts";
import { isRowLocked } from "../errors.ts";
import type { RowSender } from "./row_sender.ts";
import { RELEASE_FIELDS, type Statements } from "./statements.ts";
import { parametersOf } from "./params.ts";

/** How long a row that another transaction has locked is tried for (ms), and the pauses between: growing by half. */
const LOCKED_ROW_MS = 5_000;
const PAUSE_FIRST_MS = 5;
const PAUSE_LAST_MS = 100;

/**
 * Tries again while a row is locked, holding no connection between tries.
 *
 * @param error What to throw when the row stays locked.
 * @param attempt One try; `undefined` while the row is locked.
 */
export async function retriedWhileLocked<T>(
  sender: RowSender,
  error: Error,
  attempt: () => Promise<{ readonly answer: T } | undefined>,
): Promise<T> {
  const until = monotonic() + LOCKED_ROW_MS;
  for (let pause = PAUSE_FIRST_MS; monotonic() < until; pause = Math.min(pause * 1.5, PAUSE_LAST_MS)) {
    await sender.pause(pause * (0.5 + Math.random() / 2));
    const found = await attempt();
    if (found) return found.answer;
  }
  throw error;
}

/**
 * Frees locks. Where a guarded transaction has locked the row of one, that one is tried for again for some seconds;
 * several fail together at once, and are then asked for one by one.
 */
export async function release(sender: RowSender, sql: Statements, targets: readonly LockRef[]): Promise<boolean[]> {
  const what = () => `release ${namesOf(targets)}`;
  const parameters = parametersOf(targets, RELEASE_FIELDS);
  try {
    const rows = await sender.send(what, targets.length === 1 ? sql.release : sql.releaseEach, parameters, targets);
    return targets.length === 1 ? [rows.length > 0] : freedOf(rows[0], targets.length);
  } catch (error) {
    if (targets.length > 1 || !isRowLocked((error as Error).cause)) throw error;
    const freed = await retriedWhileLocked(sender, error as Error, async () => {
      const [row] = await sender.send(what, sql.releaseUnlocked, parameters, targets);
      if (row.freed === "true") return { answer: true };
      return row.held === "true" ? undefined : { answer: false };
    });
    return [freed];
  }
}
