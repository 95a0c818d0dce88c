import { getLock, isLocked, listLocks, Lock, Locked, LockFail, setLock, UnsupportedError } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

/** Taking and renewing several locks at once. */
export const setting: readonly Case[] = [
  withRows("names are created, then renewed", async ({ backend }) => {
    const first = await setLock(["hello", "world"], { backend, expires: 60, lockedBy: "host-a", lockProcess: 5 });
    assert.deepEqual(first.counts, { created: 2, renewed: 0, skipCreate: 0, skipRenew: 0 });
    assert.deepEqual(first.locks.map(({ name }) => name), ["hello", "world"]);
    assert(first.locks.every((lock) => lock instanceof Lock && lock.lockedBy === "host-a" && lock.lockProcess === 5));
    assert.deepEqual(first.statuses, [
      ["hello", { wasLocked: false, status: "create", locked: true }],
      ["world", { wasLocked: false, status: "create", locked: true }],
    ]);
    const second = await setLock(["hello", "world"], { backend, expires: 900, lockedBy: "host-b" });
    assert.deepEqual(second.counts, { created: 0, renewed: 2, skipCreate: 0, skipRenew: 0 });
    assert.deepEqual(second.statuses[1], ["world", { wasLocked: true, status: "extend", locked: true }]);
    assert(second.locks.every((lock) => lock.lockedBy === "host-a" && lock.expiresIn! > 890));
    assert.equal(second.locks[0].token, first.locks[0].token);
  }),

  withRows("one name may be given alone", async ({ backend }) => {
    const { locks, counts } = await setLock("hello", { backend });
    assert.equal(counts.created, 1);
    assert.equal(await (locks[0] as Lock).unlock(), true);
  }),

  withRows("setLock of no names does nothing", async ({ backend }) => {
    for (const fail of [false, true]) {
      const { locks, statuses } = await setLock([], { backend, fail });
      assert.deepEqual([locks, statuses], [[], []]);
    }
  }),

  withRows("renew: false and create: false leave names as they are", async ({ backend }) => {
    const held = await getLock("held", { backend, expires: 60 });
    const noRenew = await setLock(["held", "new"], { backend, expires: 900, renew: false });
    assert.deepEqual(noRenew.counts, { created: 1, renewed: 0, skipCreate: 0, skipRenew: 1 });
    assert.deepEqual(noRenew.statuses[0], ["held", { wasLocked: true, status: "skip", locked: true }]);
    assert.deepEqual(noRenew.locks.map(({ name }) => name), ["held", "new"]);
    assert.equal((await held.refresh()).expiresIn! <= 60, true);
    const onlyRenew = await setLock(["held", "absent"], { backend, expires: 900, create: false });
    assert.deepEqual(onlyRenew.counts, { created: 0, renewed: 1, skipCreate: 1, skipRenew: 0 });
    assert.deepEqual(onlyRenew.statuses[1], ["absent", { wasLocked: false, status: "skip", locked: false }]);
    assert.deepEqual(onlyRenew.locks.map(({ name }) => name), ["held"]);
    assert.equal(await isLocked("absent", { backend }), false);
    const neither = await setLock(["held", "absent"], { backend, create: false, renew: false });
    assert.deepEqual(neither.counts, { created: 0, renewed: 0, skipCreate: 1, skipRenew: 1 });
  }),

  withRows("a name that is given twice counts as already locked", async ({ backend }) => {
    const result = await setLock(["b", "a", "b"], { backend });
    assert.deepEqual(result.statuses.map(([name, { status }]) => [name, status]), [
      ["b", "create"],
      ["a", "create"],
      ["b", "extend"],
    ]);
    assert.deepEqual(result.counts, { created: 2, renewed: 1, skipCreate: 0, skipRenew: 0 });
    assert.deepEqual(result.locks.map(({ name }) => name), ["b", "a"]);
    const skipped = await setLock(["c", "c"], { backend, renew: false, fail: true });
    assert.deepEqual(skipped.counts, { created: 1, renewed: 0, skipCreate: 0, skipRenew: 1 });
    const absent = await setLock(["d", "d"], { backend, create: false });
    assert.deepEqual(absent.counts, { created: 0, renewed: 0, skipCreate: 2, skipRenew: 0 });
  }),

  withRows("fail is all or nothing, and LockFail has the lock that was held", async ({ backend }) => {
    const held = await getLock("m", { backend, expires: 60, lockedBy: "host-a" });
    await assert.rejects(setLock(["a", "m", "z"], { backend, fail: true, expires: 900 }), (error) => {
      assert(error instanceof LockFail && error instanceof Locked);
      assert.equal(error.code, "LOCK_FAIL");
      assert.equal(error.lock?.name, "m");
      assert.equal(error.lock?.lockedBy, "host-a");
      return true;
    });
    assert.deepEqual((await listLocks({ backend, includeExpired: true })).map(({ name }) => name), ["m"]);
    assert((await held.refresh()).expiresIn! <= 60);
    await assert.rejects(setLock(["a", "m"], { backend, fail: true, create: false }), LockFail);
    const result = await setLock(["a", "z"], { backend, fail: true });
    assert.equal(result.counts.created, 2);
  }),

  withRows("the same names in any order never deadlock, and are all or nothing", async ({ backend, another }) => {
    const others = [backend, await another(), await another()];
    const names = ["a", "b", "c", "d", "e"];
    const won = await Promise.all(Array.from({ length: 12 }, async (_, index) => {
      const order = index % 2 ? names : names.toReversed();
      try {
        return (await setLock(order, { backend: others[index % 3], fail: true })).locks as Lock[];
      } catch (error) {
        assert(error instanceof LockFail, String(error));
        return [];
      }
    }));
    assert.equal(won.filter((locks) => locks.length > 0).length, 1);
    assert.equal(won.flat().length, names.length);
  }),

  withRows("many names at once", async ({ backend }) => {
    const names = Array.from({ length: 300 }, (_, index) => `name ${index}`);
    assert.equal((await setLock(names, { backend })).counts.created, 300);
    assert.equal((await setLock(names, { backend })).counts.renewed, 300);
  }),

  always("setLock is refused in session mode", async ({ backend }, { mode }) => {
    if (mode === "session") await assert.rejects(setLock(["a"], { backend }), UnsupportedError);
  }),
];
