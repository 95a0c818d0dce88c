import { type Backend, BackendError, type Lock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { watchStalls } from "../history/stalls.ts";

/** How long a backend may take from its first error until it takes locks again (ms), while its process runs. */
const AGAIN = 2_000;

/** Takes a name, which has to succeed within {@linkcode AGAIN} of the first error. */
export async function takesAgain(backend: Backend, name: string): Promise<Lock> {
  let failedAt: number | undefined;
  let stalled = 0;
  using stalls = watchStalls("", (event) => stalled += event.kind === "stalled" ? (event.at - event.from) / 1e3 : 0);
  for (;;) {
    try {
      const lock = await tryLock(name, { backend });
      assert(lock, "the name is free");
      return lock;
    } catch (error) {
      stalls.look();
      if (!(error instanceof BackendError)) throw error;
      assert.equal(error.retryable, true, error.message);
      failedAt ??= (stalled = 0, performance.now());
      assert(performance.now() - failedAt - Math.min(stalled, AGAIN) < AGAIN, `still: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
