/** Answers that come after those of later requests, or not at all. */
import {
  type Backend,
  BackendError,
  connect,
  getLock,
  getLocks,
  isLocked,
  lead,
  listLocks,
  type Lock,
  LockLost,
  LockMgr,
  setLock,
  tryLock,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { deferred, later, LOSING_PAUSE_MS, unlessPaused } from "../conformance/case.ts";
import { withEnvironment } from "./environment.ts";
import { gated } from "./gated.ts";
import { around, test } from "./wrapping.ts";

/** A backend whose next answer to a request for a lock comes once `let` is called; `asked` resolves when it is there. */
function delayed(real: Backend): { backend: Backend; delay(): { asked: Promise<void>; let: () => void } } {
  let next: { asked: () => void; answered: Promise<void> } | undefined;
  const backend = around(gated(real).backend, {
    acquire: async (requests, options) => {
      const current = next;
      next = undefined;
      const answers = await real.acquire(requests, options);
      current?.asked();
      await current?.answered;
      return answers;
    },
  });
  const delay = () => {
    const [asked, answered] = [deferred(), deferred()];
    next = { asked: asked.resolve, answered: answered.promise };
    return { asked: asked.promise, let: answered.resolve };
  };
  return { backend, delay };
}

test("late: what finds a lock gone while it is released is no loss", async () => {
  await using real = await connect("sqlite::memory:");
  const [asked, renews, released, answers] = [deferred(), deferred(), deferred(), deferred()];
  const backend = around(gated(real).backend, {
    renew: async (requests) => {
      asked.resolve();
      await renews.promise;
      return await real.renew(requests);
    },
    release: async (targets) => {
      const all = await real.release(targets);
      released.resolve();
      await answers.promise;
      return all;
    },
  });
  let renewal: Promise<Lock> | undefined;
  const body = withLock("a", { backend }, async (lock) => {
    renewal = later(lock.renew());
    await asked.promise;
    return lock.signal;
  });
  await released.promise;
  renews.resolve();
  await assert.rejects(renewal!, LockLost);
  answers.resolve();
  assert.equal((await body).aborted, false);
});

test("late: a renewal that fails after the last lock of several was granted is not repeated", () =>
  unlessPaused(async () => {
    await using real = await connect("sqlite::memory:");
    const { backend, sent, refuse, holdUp } = gated(real);
    await using holder = await getLock("b", { backend });
    const renewal = holdUp("renew");
    const all = getLocks(["a", "b"], { backend, expires: 1.5, wait: 10 });
    const pass = await renewal;
    await holder.unlock();
    await using set = await all;
    const { length } = sent.renew;
    refuse.renew = () => {
      throw new BackendError("Cannot reach the server");
    };
    pass();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(sent.renew.length, length);
    assert(set.held);
  }, LOSING_PAUSE_MS));

test("late: the answer of a steal ends only the handles of those that it replaced", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, delay } = delayed(real);
  for (const steal of [true, false]) {
    const { asked, let: arrive } = delay();
    const late = getLock("a", { backend, steal });
    await asked;
    const thief = await getLock("a", { backend, steal: true });
    arrive();
    const first = await late;
    assert(first.token < thief.token);
    assert.deepEqual([first.held, first.signal.aborted, thief.held], [false, true, true]);
    assert.equal(await thief.unlock(), true);
  }
});

test("late: getLocks ends with its wait or signal though the database is silent, and keeps no late grant", async () => {
  await using real = await connect("sqlite::memory:");
  for (const options of [{ wait: 0.05 }, { wait: 60, signal: AbortSignal.timeout(50) }]) {
    const { backend, delay } = delayed(real);
    const { let: arrive } = delay();
    const from = performance.now();
    const expected = options.signal ? { name: "TimeoutError" } : { name: "BackendError", retryable: true };
    await assert.rejects(getLocks(["a", "b"], { backend, ...options }), expected);
    assert(performance.now() - from < 5_000);
    arrive();
    while ((await listLocks({ backend })).length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
});

test("late: lead ends with its signal while the backend is opened", async () => {
  await withEnvironment({ LOCKMGR_URL: "postgres://127.0.0.1:1/none" }, async () => { // no server is there
    await lead("a", { signal: AbortSignal.timeout(50) }, () => assert.fail("it leads"));
    await assert.rejects(getLock("a"), BackendError); // the attempt to open it has ended
  });
});

test("late: a manager that was disposed of while it renewed has no main lock", async () => {
  await using real = await connect("sqlite::memory:");
  const { backend, delay } = delayed(real);
  const mgr = new LockMgr("a", { backend });
  const { asked, let: arrive } = delay();
  const renewal = later(mgr.renew());
  await asked;
  await mgr[Symbol.asyncDispose]();
  arrive();
  await assert.rejects(renewal, /disposed of/);
  assert.equal(mgr.mainLock, null);
});

test("a kept name is held, and setLock skips it", async () => {
  await using backend = await connect("sqlite::memory:");
  await (await getLock("kept", { backend, holdAtLeast: 60 })).unlock();
  assert.equal(await isLocked("kept", { backend }), true);
  const { sent, backend: seen } = gated(backend);
  for (const options of [{}, { renew: false }, { create: false }]) {
    const { statuses, counts } = await setLock(["kept"], { backend: seen, ...options });
    assert.deepEqual(statuses, [["kept", { wasLocked: true, status: "skip", locked: true }]]);
    assert.equal(counts.skipRenew, 1);
  }
  assert(sent.acquire.length <= 2, `it was tried ${sent.acquire.length} times`);
  assert.equal(await tryLock("kept", { backend }), undefined);
});
