/** Programs under test replace timers and clocks to move time by hand; real databases do not care. */
import { connect, getLock, listLocks, setLock, tryLock, unlock, withLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";

const NAMES = ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "setImmediate", "queueMicrotask"] as const;

/** Replaces the timers and clocks of this program by some that stand still, until disposed. */
function standStill(): Disposable {
  const own = Object.fromEntries(NAMES.map((name) => [name, globalThis[name]]));
  const { now } = Date;
  const clock = Object.getOwnPropertyDescriptor(performance, "now");
  for (const name of NAMES) Object.assign(globalThis, { [name]: () => 0 });
  Date.now = () => 0;
  Object.defineProperty(performance, "now", { value: () => 0, configurable: true, writable: true });
  return {
    [Symbol.dispose]() {
      Object.assign(globalThis, own);
      Date.now = now;
      if (clock) Object.defineProperty(performance, "now", clock);
      else delete (performance as { now?: unknown }).now;
    },
  };
}

test("timers: locks work beside timers and clocks that stand still", async () => {
  await using backend = await connect("sqlite::memory:");
  using _ = standStill();
  const holder = await getLock("a", { backend, expires: 0.5 });
  const crowd = await Promise.all(Array.from({ length: 40 }, (_, index) => tryLock(`crowd ${index}`, { backend })));
  assert(crowd.every((lock) => lock?.held));
  const next = await getLock("a", { backend, wait: 10 }); // once the lease has expired
  assert.equal(holder.held, false);
  await assert.rejects(getLock("a", { backend, wait: 0.05 }), { code: "LOCK_TIMEOUT" });
  assert.equal(await withLock("b", { backend, expires: 60 }, () => 42), 42);
  assert.equal((await setLock(["c", "d"], { backend })).counts.created, 2);
  assert.equal((await listLocks({ backend, prefix: "a" })).length, 1);
  assert.equal(await unlock(next), true);
});
