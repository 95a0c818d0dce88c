import type { BackendError } from "../errors.ts";

/** Whether an error is of the database, also one that another copy of this package has made. */
export function isBackendError(error: unknown): error is BackendError {
  return error instanceof Error && (error as Partial<BackendError>).code === "BACKEND";
}

/** Whether an error says nothing about the lock and may pass. */
export function isRetryable(error: unknown): boolean {
  return isBackendError(error) && error.retryable;
}

/**
 * Repeats once what failed with an error that may pass. Every request to a backend is safe to repeat: an acquisition
 * finds its own row again by the owner, a renewal never shortens, a release that took effect finds nothing.
 */
export async function retryOnce<T>(request: () => Promise<T>, onRepeat?: () => void): Promise<T> {
  try {
    return await request();
  } catch (error) {
    if (!isRetryable(error)) throw error;
    onRepeat?.();
    return await request();
  }
}
