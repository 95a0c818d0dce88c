import type { BackendError } from "../errors.ts";

/** Whether an error is a `BackendError`, also of another copy of this package. */
export function isBackendError(error: unknown): error is BackendError {
  return error instanceof Error && (error as Partial<BackendError>).code === "BACKEND";
}

/** Whether an error says nothing about the lock and may be temporary. */
export function isRetryable(error: unknown): boolean {
  return isBackendError(error) && error.retryable;
}

/**
 * Repeats a request once after a retryable error. Every request to a backend may be repeated: an acquisition finds its
 * own row by the owner, a renewal never shortens, a release that took effect finds nothing.
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
