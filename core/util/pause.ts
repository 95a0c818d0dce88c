import { startTimer, type Timer } from "./runtime.ts";

/**
 * Waits so many milliseconds.
 *
 * @throws The signal's reason, as soon as it aborts.
 */
export async function pauseFor(milliseconds: number, signal?: AbortSignal): Promise<void> {
  let timer: Timer;
  let resume: () => void;
  await new Promise<void>((resolve) => {
    resume = () => resolve();
    timer = startTimer(milliseconds, resume, true);
    signal?.addEventListener("abort", resume, { once: true });
  });
  timer!.stop();
  signal?.removeEventListener("abort", resume!);
  signal?.throwIfAborted();
}
