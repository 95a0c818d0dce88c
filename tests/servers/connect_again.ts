import { type Backend, BackendError, connect, type ConnectOptions } from "@lockmgr/lockmgr";

/** Connects; tries again after a timeout, which a busy machine may cause. */
export async function connectAgain(url: string, options: ConnectOptions): Promise<Backend> {
  for (let tries = 1;; tries++) {
    const startedAt = performance.now();
    try {
      return await connect(url, options);
    } catch (error) {
      const late = error instanceof BackendError && error.retryable && performance.now() - startedAt > 1_000;
      if (!late || tries === 5) throw error;
    }
  }
}
