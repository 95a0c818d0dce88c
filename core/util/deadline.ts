import { afterReads, startTimer, type Timer } from "./runtime.ts";

/**
 * Waits for some work, but no longer than `limit` (ms). The work goes on when the wait ends; its later failure is not
 * an unhandled rejection. The timer ends with the wait.
 *
 * @param late Called when there was no outcome in time: what it returns is returned, what it throws is thrown.
 */
export async function withDeadline<Value, Late = undefined>(
  limit: number,
  work: PromiseLike<Value>,
  late?: () => Late,
): Promise<Value | Late> {
  let timer: Timer | undefined;
  let settled = false;
  const expired = new Promise<void>((resolve) => {
    timer = startTimer(limit, () => afterReads(resolve), true); // an answer that has arrived is read first
  });
  try {
    return await Promise.race([work, expired.then(() => (settled ? undefined : late?.()) as Late)]);
  } finally {
    settled = true;
    timer?.stop();
  }
}
