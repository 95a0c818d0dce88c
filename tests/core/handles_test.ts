/** What a handle knows of its lock, how early it gives it up, and what becomes of it when the program drops it. */
import {
  type Backend,
  connect,
  getLock,
  getLocks,
  Lock,
  LockLost,
  LockMgr,
  renewLock,
  tryLock,
  unlock,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import process from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { aborted, LOSING_PAUSE_MS, RENEWED, unlessPaused } from "../conformance/case.ts";
import { skip } from "../harness.ts";
import { faulty } from "./faulty.ts";
import { around, test } from "./wrapping.ts";

/** Lets timers and sockets run until something is so. */
async function until(so: () => boolean): Promise<void> {
  while (!so()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** The lock's remaining seconds by the database. */
async function left(backend: Backend, name: string): Promise<number> {
  const [row] = await backend.list({ names: [name] });
  return (row.lockedUntil! - row.now) / 1e6;
}

/** Registers a test whose leases are lost when the process pauses for too long. */
const renewedTest = (name: string, run: () => Promise<void>) =>
  test(`handle: ${name}`, () => unlessPaused(run, LOSING_PAUSE_MS));

renewedTest("renewals by autoRenew are seen in every field of the handle", async () => {
  await using backend = await connect("sqlite::memory:");
  await using lock = await getLock("a", { backend, expires: RENEWED, autoRenew: true });
  const { lockedUntil, updatedAt, createdAt } = lock;
  await until(() => !lock.held || lock.lockedUntil! > lockedUntil!);
  assert(lock.held);
  assert(lock.updatedAt > updatedAt);
  assert.equal(lock.expired, false);
  assert(lock.expiresIn! > 0 && lock.expiresIn! <= RENEWED);
  assert.equal(lock.createdAt.getTime(), createdAt.getTime());
  assert.match(String(lock), /^<Lock name='a'/);
});

renewedTest("time is added to the newest expiry, whatever renewed the lock last", async () => {
  await using backend = await connect("sqlite::memory:");
  await using lock = await getLock("a", { backend, expires: RENEWED, autoRenew: true });
  const { lockedUntil } = lock;
  await until(() => !lock.held || lock.lockedUntil! > lockedUntil!);
  const renewed = lock.lockedUntil!.getTime();
  await lock.renew({ expires: 5, addTime: true });
  assert.equal(lock.lockedUntil!.getTime(), renewed + 5_000);
  await renewLock("a", { backend, expires: 60 });
  await lock.refresh();
  assert(lock.expiresIn! > 50 && lock.expiresIn! <= 60, "a renewal by name is seen by refresh");
  await lock.renew({ expires: 60, addTime: true });
  assert(await left(backend, "a") > 110);
});

renewedTest("a manager that renews automatically adds time too", async () => {
  await using backend = await connect("sqlite::memory:");
  await using mgr = await LockMgr.acquire("a", { backend, expires: RENEWED, autoRenew: true });
  const { lockedUntil } = mgr.mainLock!;
  await until(() => !mgr.mainLock!.held || mgr.mainLock!.lockedUntil! > lockedUntil!);
  const renewed = mgr.mainLock!.lockedUntil!.getTime();
  await mgr.renew(undefined, { expires: 5 });
  assert.equal(mgr.mainLock!.lockedUntil!.getTime(), renewed + 5_000);
  const [row] = await backend.list({ names: ["a"] });
  assert(Math.abs(mgr.mainLock!.lockedUntil!.getTime() - row.lockedUntil! / 1e3) < 1);
});

test("handle: a manager stores the metadata of its locks", async () => {
  await using backend = await connect("sqlite::memory:");
  await using mgr = await LockMgr.acquire("a", { backend, metadata: { shard: 7 } });
  assert.deepEqual([mgr.mainLock!.metadata, (await mgr.lock("b")).metadata], [{ shard: 7 }, { shard: 7 }]);
});

test("handle: an answer of a server clock that was set forward past the expiry ends the lease here too", async () => {
  await using real = await connect("sqlite::memory:");
  const forward = around(faulty(real).backend, {
    list: async (filter: Parameters<Backend["list"]>[0]) =>
      (await real.list(filter)).map((row) => ({ ...row, now: row.now + 70e6 })),
  });
  const lock = await getLock("a", { backend: forward, expires: 60 });
  assert(lock.expiresIn! > 50);
  await assert.rejects(lock.refresh(), LockLost);
  assert.equal(lock.held, false);
});

test("handle: a lease is given up 1 % before it expires, at least 5 ms and at most 1 s", async () => {
  await using backend = await connect("sqlite::memory:");
  for (const [seconds, margin] of [[0.1, 5], [10, 100], [1_000, 1_000]]) {
    const { name } = await getLock(`for ${seconds}`, { backend, expires: seconds });
    const [row] = await backend.list({ names: [name], includeExpired: true });
    const held = (before: number) => {
      const askedAt = performance.now() - (seconds * 1e3 - before);
      return new Lock({ backend, claim: { name, owner: "unknown" }, row: { ...row, now: row.createdAt }, askedAt })
        .held;
    };
    assert.equal(held(margin * 0.9), false, `${seconds} s are believed too long`);
    assert.equal(held(margin * 1.1 + 50), true, `${seconds} s are given up too early`);
  }
});

test("handle: a signal that is read after the event loop was blocked past the lease has aborted", async () => {
  await using backend = await connect("sqlite::memory:");
  const lock = await getLock("a", { backend, expires: 0.05 });
  const set = await getLocks(["b"], { backend, expires: 0.05 });
  const mgr = await LockMgr.acquire("c", { backend, expires: 0.05 });
  const signals = [lock.signal, set.signal, mgr.signal];
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60);
  for (const { signal } of [lock, set, mgr]) assert(signal.aborted && signals.includes(signal));
});

test("handle: a lock shorter than the margin is never believed to be held", async () => {
  await using backend = await connect("sqlite::memory:");
  const lock = await getLock("a", { backend, expires: 0.004 });
  assert.equal(lock.held, false);
  assert(lock.signal.aborted);
});

/** Collects garbage now; `undefined` where the runtime does not let a program do that. */
function collector(): (() => void) | undefined {
  const { Bun, gc } = globalThis as { Bun?: { gc(force: boolean): void }; gc?: () => void };
  if (Bun) return () => Bun.gc(true);
  if (gc) return gc;
  try {
    setFlagsFromString("--expose-gc");
    return runInNewContext("gc") as () => void;
  } catch {
    return undefined;
  }
}

const collect = collector();
const droppedTest = (name: string, run: (collect: () => void) => Promise<void>) =>
  collect ? renewedTest(name, () => run(collect)) : skip(`handle: ${name}`, "no way to collect garbage");

droppedTest("one with autoRenew that was dropped is renewed no more, and the program is warned", async (collect) => {
  await using backend = await connect("sqlite::memory:");
  const drop = async () => void await tryLock("dropped", { backend, expires: RENEWED, autoRenew: true });
  await drop();
  let warning: Error | undefined;
  const heard = (one: Error) => warning = /"dropped"/.test(one.message) ? one : warning;
  process.on("warning", heard);
  try {
    for (; warning === undefined; await new Promise((resolve) => setTimeout(resolve, 5))) {
      collect();
      await drop(); // once more where the machine stood still until the lease had expired: such a handle needs no warning
    }
  } finally {
    process.off("warning", heard);
  }
  assert.match(warning!.message, /"dropped".*garbage collected.*unlock\(\)/);
  const next = await getLock("dropped", { backend, wait: 10 });
  assert(next.held);
});

droppedTest("one whose signal is in use, or that a manager keeps, is renewed on", async (collect) => {
  await using backend = await connect("sqlite::memory:");
  const options = { backend, expires: RENEWED, autoRenew: true };
  const signal = await (async () => (await getLock("signal", options)).signal)();
  await using mgr = await LockMgr.acquire("manager", options);
  const clock = await getLock("clock", { backend, expires: RENEWED * 1.1 });
  const ended = aborted(clock.signal);
  await until(() => (collect(), clock.signal.aborted));
  await ended;
  assert.equal(signal.aborted, false);
  assert(mgr.mainLock!.held);
  assert((await backend.list({ names: ["signal"] })).length === 1);
  await backend.release([{ name: "signal", owner: null }]);
  await aborted(signal);
});

droppedTest("those that have ended leave nothing behind, whatever was read of them", async (collect) => {
  await using backend = await connect("sqlite::memory:");
  const options = { backend, autoRenew: true };
  const read = (lock: Lock) => (void lock.signal, void lock.wanted, new WeakRef(lock));
  const ends: Record<string, (name: string) => Promise<WeakRef<Lock>>> = {
    released: (name) => withLock(name, options, read),
    lost: async (name) => {
      const lock = await getLock(name, options);
      await unlock(name, { backend });
      await assert.rejects(lock.renew(), LockLost);
      return read(lock);
    },
    detached: async (name) => {
      const lock = await getLock(name, options);
      lock.detach();
      return read(lock);
    },
  };
  for (const [how, end] of Object.entries(ends)) {
    const ended = await Promise.all(Array.from({ length: 50 }, (_, index) => end(`${how} ${index}`)));
    let alive = ended.length;
    for (let tries = 0; alive > 5 && tries < 100; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      collect();
      alive = ended.filter((lock) => lock.deref() !== undefined).length;
    }
    assert(alive <= 5, `${alive} of ${ended.length} that were ${how} are still there`);
  }
});
