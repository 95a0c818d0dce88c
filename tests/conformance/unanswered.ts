import { type Backend, BackendError, cleanLocks, getLock, listLocks, renewLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";

/** How long a disposal may take (ms). */
const DISPOSED_WITHIN_MS = 2_000;
/** How often that is measured at most: the machine may stand still meanwhile. */
const TRIES = 3;

/**
 * A backend whose client stops answering is disposed of as soon as any other, and its callers get an error.
 *
 * @param open Opens a backend on a client that answers as long as `isSilent` returns `false`.
 */
export async function disposedOfUnanswered(open: (isSilent: () => boolean) => Promise<Backend>): Promise<void> {
  let took = Infinity;
  for (let tries = 0; tries < TRIES && took >= DISPOSED_WITHIN_MS; tries++) {
    let silent = false;
    const backend = await open(() => silent);
    const name = `held ${tries}`;
    await getLock(name, { backend });
    silent = true;
    const calls: Promise<unknown>[] = [listLocks, cleanLocks].map((verb) => verb({ backend }));
    calls.push(getLock("free", { backend }), getLock("free", { backend, wait: 60 }), renewLock(name, { backend }));
    const failed = calls.map((call) =>
      assert.rejects(call, (error) => error instanceof BackendError && / disposed of/.test(error.message))
    );
    const startedAt = performance.now();
    await backend[Symbol.asyncDispose]();
    await Promise.all(failed);
    took = performance.now() - startedAt;
  }
  assert(took < DISPOSED_WITHIN_MS, `disposal took ${took} ms`);
}
