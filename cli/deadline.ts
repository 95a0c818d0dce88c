/** A timer with a longer delay (ms) fires at once. */
export const LONGEST_TIMER_MS = 2 ** 31 - 1;

/**
 * Waits for an outcome, for so many seconds at most. A later result is ignored.
 *
 * @throws What `late` makes, when there is no outcome in time.
 */
export async function within<T>(seconds: number, work: PromiseLike<T>, late: () => Error): Promise<T> {
  if (seconds * 1e3 > LONGEST_TIMER_MS) return await work;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<never>((_, reject) => timer = setTimeout(() => reject(late()), seconds * 1e3));
  try {
    return await Promise.race([work, over]);
  } finally {
    clearTimeout(timer);
  }
}
