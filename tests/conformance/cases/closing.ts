import {
  type Backend,
  BackendError,
  getLock,
  isLocked,
  LockLost,
  LockMgr,
  setLock,
  tryLock,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, deferred, later, turn, watchPauses, withRows } from "../case.ts";

/** How many random moments are tried. */
const DISPOSALS = 10;
/** How long a disposal may take (ms): the 2 s of its promise, and what closing connections takes on a busy machine. */
const CLOSED_WITHIN = 4_000;
/** A disposal that takes longer (ms) leaves unreleased locks to expire. */
const RELEASED_WITHIN = 1_500;

const NAMES = ["one", "two", "three"];

/** Everything a program may have under way on a backend, none of which is waited for. */
function busy(backend: Backend, rows: boolean, signal?: AbortSignal): Promise<unknown>[] {
  const [one, two, three] = NAMES;
  return [
    tryLock(one, { backend }),
    getLock(one, { backend, wait: 30, signal }),
    getLock(two, { backend, wait: Infinity, signal }),
    tryLock(two, { backend }),
    withLock(three, { backend, wait: 30, signal }, turn),
    ...rows ? [setLock([two, three], { backend }), getLock(one, { backend, wait: 5, expires: null, signal })] : [],
  ];
}

/** Who was told an error was told one of the database, or that the name is held; nothing hangs. */
async function ended(calls: Promise<unknown>[], expected: unknown): Promise<void> {
  for (const outcome of await Promise.allSettled(calls)) {
    if (outcome.status === "fulfilled" || outcome.reason === expected) continue;
    const { code } = outcome.reason;
    assert(["BACKEND", "LOCKED", "LOCK_TIMEOUT", "LOCK_LOST"].includes(code), String(outcome.reason?.stack));
  }
}

async function free(backend: Backend, when: string): Promise<void> {
  for (const name of NAMES) {
    const lock = await tryLock(name, { backend });
    assert(lock, `${name} is held ${when}`);
    await lock.unlock();
  }
}

/** Disposes of a backend; then every name is free for another, unless the process paused for too long. */
async function dispose(backend: Backend, other: Backend, when: string): Promise<void> {
  using pauses = watchPauses();
  const startedAt = performance.now();
  await backend[Symbol.asyncDispose]();
  const took = performance.now() - startedAt;
  assert(took < CLOSED_WITHIN, `the disposal took ${took} ms`);
  if (took < RELEASED_WITHIN || !pauses.paused()) return await free(other, when);
  if (other.mode !== "session") await other.clean("all");
  for (const name of NAMES) await (await getLock(name, { backend: other, wait: 10 })).unlock();
}

/** Disposals and aborts: every name is free for another backend when they are over. */
export const closing: readonly Case[] = [
  always("disposal at any moment leaves no lock behind", async (fixture, { mode }) => {
    for (let round = 0; round < DISPOSALS; round++) {
      const backend = await fixture.another();
      const calls = busy(backend, mode !== "session");
      for (const call of calls) call.catch(() => {});
      const pause = Math.random() * 12;
      if (round % 4 > 0) await new Promise((resolve) => setTimeout(resolve, pause));
      await dispose(backend, fixture.backend, `after a disposal at ${pause} ms`);
      await ended(calls, undefined);
    }
  }),

  always("an abort at any moment and a disposal leave no lock behind", async (fixture, { mode }) => {
    for (let round = 0; round < DISPOSALS; round++) {
      const backend = await fixture.another();
      const aborting = new AbortController();
      const calls = busy(backend, mode !== "session", aborting.signal);
      for (const call of calls) call.catch(() => {});
      const pause = Math.random() * 12;
      await new Promise((resolve) => setTimeout(resolve, pause));
      const reason = new Error("stopped");
      aborting.abort(reason);
      await dispose(backend, fixture.backend, `after an abort at ${pause} ms`);
      await ended(calls, reason);
    }
  }),

  always(
    "disposal releases held locks, aborts their signals and refuses later calls",
    async (fixture, { mode }) => {
      const backend = await fixture.another();
      const lock = await getLock("one", { backend });
      const mgr = await LockMgr.acquire("two", { backend });
      const [third] = mode === "session" ? [] : (await setLock("three", { backend, expires: null })).locks;
      const { signal } = lock;
      const waiting = later(getLock("one", { backend, wait: 30 }));
      const refused = later(assert.rejects(waiting, BackendError));
      await Promise.all([backend[Symbol.asyncDispose](), backend[Symbol.asyncDispose]()]);
      await refused;
      await free(fixture.backend, "after a disposal");
      assert(signal.aborted && signal.reason instanceof LockLost);
      assert.equal(lock.held, false);
      assert.equal(await lock.unlock(), false);
      assert.equal(await lock.verify(), false);
      assert.equal(third === undefined || await (third as typeof lock).unlock(), third === undefined);
      await mgr[Symbol.asyncDispose]();
      await assert.rejects(getLock("four", { backend }), BackendError);
      await assert.rejects(tryLock("four", { backend, wait: 5 }), BackendError);
      await assert.rejects(isLocked("four", { backend }), BackendError);
      if (mode !== "session") await assert.rejects(setLock("four", { backend }), BackendError);
      await backend[Symbol.asyncDispose]();
    },
  ),

  always("nothing that the backend was asked is under way after a disposal", async (fixture, { mode }) => {
    const backend = await fixture.another();
    const request = { name: "one", owner: "a", lockedBy: "a", lockProcess: null, duration: null, metadata: null };
    await backend.acquire([{ ...request, limit: 1 }]);
    const calls = [
      backend.acquire([{ ...request, name: "two", limit: 1 }]),
      backend.list({ names: ["one", "two"] }),
      ...mode === "session" ? [] : [backend.renew([{ ...request, from: "now", add: null }])],
      backend.release([request]),
    ];
    let underWay = calls.length;
    for (const call of calls) call.catch(() => {}).finally(() => underWay--);
    await backend[Symbol.asyncDispose]();
    await turn();
    assert.equal(underWay, 0);
    if (mode !== "session") await fixture.backend.clean("all");
  }),

  always("a withLock under way returns its body's result after a disposal, and its signal aborts", async (fixture) => {
    const backend = await fixture.another();
    const entered = deferred();
    const disposed = deferred();
    const result = later(withLock("one", { backend, wait: 5 }, async (lock) => {
      const { signal } = lock;
      entered.resolve();
      await disposed.promise;
      return [signal.aborted, lock.held];
    }));
    await entered.promise;
    await backend[Symbol.asyncDispose]();
    await free(fixture.backend, "while the body still runs");
    disposed.resolve();
    assert.deepEqual(await result, [true, false]);
    const own = await fixture.another();
    const inside = await withLock("two", { backend: own }, async () => {
      await own[Symbol.asyncDispose]();
      return 42;
    });
    assert.equal(inside, 42);
    const failing = await fixture.another();
    const error = new Error("the body's own");
    const failed = withLock("two", { backend: failing }, async () => {
      await failing[Symbol.asyncDispose]();
      throw error;
    });
    await assert.rejects(failed, (thrown) => thrown === error);
    await free(fixture.backend, "after disposals within bodies");
  }),

  withRows("a lock lost before the disposal is a loss all the same", async (fixture) => {
    const backend = await fixture.another();
    const lost = withLock("one", { backend }, async (lock) => {
      await fixture.backend.release([{ name: "one", owner: null }]);
      await lock.verify();
      await backend[Symbol.asyncDispose]();
    });
    await assert.rejects(lost, LockLost);
  }),
];
