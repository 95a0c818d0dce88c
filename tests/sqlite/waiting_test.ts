/**
 * What ends a wait although no other connection commits: this very connection did, or another user of its handle.
 *
 * @module
 */
import {
  type Backend,
  BackendError,
  cleanLocks,
  closeLocks,
  connect,
  getLock,
  listLocks,
  type Lock,
  resetLocks,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { later, unlessPaused, within } from "../conformance/case.ts";
import { gated } from "../core/gated.ts";
import { test } from "../core/wrapping.ts";
import { place } from "./place.ts";

/** A waiter that blocks others leaves the queue when its process pauses for longer (ms): two thirds of its time there. */
const PAUSE_MS = 800;

/** Returns a function that measures the time since its last call (ms). */
function stopwatch(): () => number {
  let from = performance.now();
  return () => -from + (from = performance.now());
}

/** What frees the name "jobs", of which `lock` is the handle. */
const ENDINGS: Record<string, (lock: Lock, other: Backend) => Promise<unknown>> = {
  "a release": (lock) => lock.unlock(),
  "a release by name": (_lock, other) => unlock("jobs", { backend: other }),
  "resetLocks": (_lock, other) => resetLocks({ backend: other }),
  "cleanLocks after the expiry": async (lock, other) => {
    while (!lock.expired) await new Promise((resolve) => setTimeout(resolve, 5));
    await cleanLocks({ backend: other });
  },
  "the expiry": () => Promise.resolve(),
  "setLock of another name and a release": async (lock, other) => {
    await setLock("others", { backend: other });
    await lock.unlock();
  },
};

/** A wait for a name that is held ends soon after what frees it; without a wake-up it would end at its deadline. */
async function endsSoon(ending: string, holder: Backend, waiter: Backend, by: Backend): Promise<void> {
  const expires = /expiry/.test(ending) ? 0.05 : 600;
  const lock = await getLock("jobs", { backend: holder, expires });
  const waiting = getLock("jobs", { backend: waiter, wait: 60 });
  await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 5))]); // the wait is under way
  await ENDINGS[ending](lock, by);
  const since = performance.now();
  const granted = await waiting;
  const took = performance.now() - since;
  assert(took < 5_000, `${ending}: granted after ${took} ms`);
  await granted.unlock();
}

for (const ending of Object.keys(ENDINGS)) {
  test(`sqlite: ${ending} through one backend ends a wait of the same backend`, async () => {
    await using somewhere = await place();
    for (const target of [somewhere.path, ":memory:"]) {
      await using backend = await connect(target);
      await endsSoon(ending, backend, backend, backend);
    }
  });

  test(`sqlite: ${ending} through one backend ends a wait of another on the same handle`, async () => {
    await using somewhere = await place();
    for (const target of [somewhere.path, ":memory:"]) {
      using database = new DatabaseSync(target);
      await using one = await sqliteBackend(database as SqliteDatabase);
      await using two = await sqliteBackend(database as SqliteDatabase);
      await endsSoon(ending, one, two, one);
      await endsSoon(ending, two, two, one);
    }
  });
}

test("sqlite: what a program deletes through its own handle ends a wait", async () => {
  using database = new DatabaseSync(":memory:");
  await using backend = await sqliteBackend(database as SqliteDatabase);
  await getLock("jobs", { backend });
  const waiting = later(getLock("jobs", { backend, wait: 60 }));
  await new Promise((resolve) => setTimeout(resolve, 5));
  database.exec("DELETE FROM lockmgr_locks");
  const since = performance.now();
  await waiting;
  assert(performance.now() - since < 5_000);
});

test("sqlite: a client that had to queue for a name queues again with one request", async () => {
  await using somewhere = await place();
  await using other = await connect(somewhere.path);
  await using real = await connect(somewhere.path);
  const { backend, sent } = gated(real);
  for (const most of [3, 2]) { // the last one confirms the grant
    sent.acquire.length = 0;
    const held = await getLock("jobs", { backend: other });
    const waiting = getLock("jobs", { backend, wait: 60 });
    while ((await listLocks({ backend: other }))[0].waiters === 0);
    await held.unlock();
    await (await waiting).unlock();
    assert(sent.acquire.length <= most, `${sent.acquire.length} requests`);
  }
});

test("sqlite: a dead waiter keeps out for less than 2 s those whom the holders admit", async () => {
  await using somewhere = await place();
  await using one = await connect(somewhere.path);
  await using two = await connect(somewhere.path);
  await using three = await connect(somewhere.path);
  await within(2_000, async () => { // otherwise the dead waiter's time in the queue had to end
    const { backend, sent, refuse } = gated(three);
    await using _held = await getLock("jobs", { backend: one, shared: true });
    const writer = assert.rejects(getLock("jobs", { backend, wait: 60 }), BackendError);
    while (sent.acquire.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
    const reader = later(getLock("jobs", { backend: two, shared: true, wait: 60 }));
    for (const paused = stopwatch(); sent.acquire.length < 4;) { // it asks often, and stays before the reader
      const lock = await tryLock("jobs", { backend: one, shared: true });
      assert(paused() > PAUSE_MS || lock === undefined);
      await lock?.unlock();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const from = performance.now();
    refuse.acquire = () => {
      throw new BackendError("its process is dead", { retryable: true });
    };
    await (await reader).unlock();
    const took = performance.now() - from;
    await closeLocks(backend, () => Promise.resolve());
    await writer;
    return took;
  });
});

test("sqlite: a release waits for the next waiter of its client to join the queue, also where that takes 0.5 s", () =>
  unlessPaused(async () => {
    await using somewhere = await place();
    await using other = await connect(somewhere.path);
    await using client = await connect(somewhere.path);
    const { backend, sent, holdUp } = gated(client);
    const holder = await getLock("a", { backend: other });
    const asks = [holdUp("acquire"), holdUp("acquire")];
    const first = later(getLock("a", { backend, wait: 60 }));
    const second = later(getLock("a", { backend, wait: 60 }));
    (await asks[0])();
    const confirm = await asks[1]; // it has joined the queue, and asks again
    await holder.unlock();
    const request = holdUp("acquire");
    confirm();
    const lock = await first;
    const join = await request;
    const released = later(lock.unlock());
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.deepEqual(sent.release, []);
    join();
    assert.equal(await released, true);
    await (await second).unlock();
  }));

test("sqlite: a waiting writer keeps its place when a writer follows the readers", async () => {
  await using somewhere = await place();
  await using one = await connect(somewhere.path);
  await using two = await connect(somewhere.path);
  await using three = await connect(somewhere.path);
  const { backend, sent } = gated(three);
  const reader = await getLock("jobs", { backend: one, shared: true });
  const next = getLock("jobs", { backend: two, wait: 60 });
  while ((await reader.refresh()).waiters < 1) await new Promise((resolve) => setTimeout(resolve, 1));
  const last = later(getLock("jobs", { backend, wait: 60 }));
  while ((await reader.refresh()).waiters < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  await reader.unlock();
  const writer = await next;
  const before = sent.acquire.length;
  for (const paused = stopwatch(); sent.acquire.length < before + 2;) { // one sees the writer, and one lengthens the window
    await writer.refresh();
    assert(paused() > PAUSE_MS || writer.waiters === 1, "it has lost its place");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await writer.unlock();
  await (await last).unlock();
});
