import { BackendError } from "./errors.ts";

/** Whether an error says nothing about the lock and may pass. */
export function mayPass(error: unknown): boolean {
  return error instanceof BackendError && error.retryable;
}

/**
 * Repeats once what failed with an error that may pass. Every request to a backend is safe to repeat: an acquisition
 * finds its own row again by the owner, a renewal never shortens, a release that took effect finds nothing.
 */
export async function twice<T>(request: () => Promise<T>, onRepeat?: () => void): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (!mayPass(error)) throw error;
    onRepeat?.();
    return await request();
  }
}
