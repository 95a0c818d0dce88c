import { type Backend, BackendError, type Lock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";

/** How long a backend may take from its first error until it takes locks again, 2 s of them on a busy machine (ms). */
const AGAIN = 4_000;

/** Takes a name, which has to succeed within {@linkcode AGAIN} of the first error. */
export async function takesAgain(backend: Backend, name: string): Promise<Lock> {
  let failedAt: number | undefined;
  for (;;) {
    try {
      const lock = await tryLock(name, { backend });
      assert(lock, "the name is free");
      return lock;
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      assert.equal(error.retryable, true, error.message);
      failedAt ??= performance.now();
      assert(performance.now() - failedAt < AGAIN, `still: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
