import {
  BackendError,
  getLock,
  type LockChange,
  LockTimeout,
  unlock,
  UnsupportedError,
  watchLocks,
  type WatchOptions,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, later, withQueue, withRows } from "../case.ts";

/** Iterates over changes by hand. */
function watch(options: WatchOptions) {
  const changes = watchLocks(options)[Symbol.asyncIterator]();
  /** Resolves with the first change that is such a one. */
  const until = async (isSuch: (change: LockChange) => boolean): Promise<LockChange> => {
    for (;;) {
      const { done, value } = await changes.next();
      if (done) assert.fail("the iteration has ended");
      if (isSuch(value)) return value;
    }
  };
  return { changes, until, [Symbol.asyncDispose]: async () => void await changes.return!() };
}

/** The name and the holders of a change. */
function summary({ name, holders }: LockChange): string {
  return `${name}: ${holders.map(({ lockedBy }) => lockedBy).join()}`;
}

/** `watchLocks`: what is held, as it changes. */
export const watching: readonly Case[] = [
  withRows("a watch begins with what is there: with names also with what is free", async ({ backend, another }) => {
    await getLock("a:1", { backend, lockedBy: "host-a" });
    await getLock("b", { backend, lockedBy: "host-b" });
    const other = await another();
    const seen: string[] = [];
    for await (const change of watchLocks({ backend: other, names: ["free", "a:1", "free"] })) {
      if (seen.push(summary(change)) === 2) break;
    }
    assert.deepEqual(seen, ["free: ", "a:1: host-a"]);
    for await (const change of watchLocks({ backend: other, prefix: "a:" })) {
      assert.equal(summary(change), "a:1: host-a");
      break;
    }
    await using all = watch({ backend: other });
    assert.deepEqual([summary(await all.until(Boolean)), summary(await all.until(Boolean))], [
      "a:1: host-a",
      "b: host-b",
    ]);
  }),

  withRows("a watch tells of each acquisition, renewal, release and expiry", async ({ backend, another }) => {
    const other = await another();
    await using named = watch({ backend: other, names: ["a"] });
    await using prefixed = watch({ backend: other, prefix: "a" });
    const both = (isSuch: (change: LockChange) => boolean) =>
      Promise.all([named, prefixed].map(({ until }) => until(isSuch)));
    const acquired = later(both(({ holders }) => holders.length === 1));
    const lock = await getLock("a", { backend, expires: 60 });
    for (const { holders: [record] } of await acquired) assert.equal(record.token, lock.token);
    await lock.renew({ expires: 120 });
    const until = lock.lockedUntil!.getTime();
    for (const { holders } of await both(Boolean)) assert.equal(holders[0].lockedUntil!.getTime(), until);
    await unlock("a", { backend });
    for (const { holders } of await both(Boolean)) assert.deepEqual(holders, []);
    await getLock("a", { backend, expires: 0.2 });
    await using late = watch({ backend: other, names: ["a"] }); // the others may not have seen it at all
    assert.equal((await late.until(({ holders }) => holders.length === 0)).waiters, 0);
  }),

  withQueue("a watch tells how many wait", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend });
    await using changes = watch({ backend, names: ["a"] });
    const waiting = later(getLock("a", { backend: other, wait: 60 }));
    assert.equal((await changes.until(({ waiters }) => waiters > 0)).waiters, 1);
    await lock.unlock();
    const next = await waiting;
    const { waiters } = await changes.until(({ holders }) => holders[0]?.token === next.token);
    assert.equal(waiters, 0);
    await assert.rejects(getLock("a", { backend, wait: 0.01 }), LockTimeout);
  }),

  withRows("a watch ends with its signal, with return, and with its backend", async ({ backend, another }) => {
    const controller = new AbortController();
    const aborted = watch({ backend, names: ["a"], signal: controller.signal });
    await aborted.until(Boolean);
    const waiting = later(aborted.changes.next());
    controller.abort(new Error("enough"));
    assert.deepEqual(await waiting, { done: true, value: undefined });
    for await (const _ of watchLocks({ backend, names: ["a"], signal: controller.signal })) assert.fail("a change");

    const returned = watch({ backend, names: ["a"], interval: 3_600 });
    await returned.until(Boolean);
    const never = later(returned.changes.next());
    assert.equal((await returned.changes.return!()).done, true);
    assert.equal((await never).done, true);
    assert.equal((await returned.changes.next()).done, true);

    const other = await another();
    const cut = watch({ backend: other, names: ["a"], interval: 3_600 });
    await cut.until(Boolean);
    const failing = later(assert.rejects(cut.changes.next(), BackendError));
    await other[Symbol.asyncDispose]();
    await failing;
  }),

  always("a watch refuses what it cannot do before it asks the database", async ({ backend }) => {
    const wrong: [unknown, RegExp][] = [
      [{ name: "a" }, /want "names"/],
      [{ names: [""] }, /empty/],
      [{ names: "a" }, /array/],
      [{ prefix: 1 }, /prefix/],
      [{ interval: 0 }, /interval/],
      [{ interval: NaN }, /interval/],
      ["a", /options of watchLocks/],
    ];
    for (const [options, message] of wrong) assert.throws(() => watchLocks(options as WatchOptions), { message });
    if (backend.mode !== "session") return;
    const changes = watchLocks({ backend })[Symbol.asyncIterator]();
    await assert.rejects(changes.next(), UnsupportedError);
  }),
];
