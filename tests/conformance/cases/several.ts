import {
  getLock,
  getLocks,
  isLocked,
  listLocks,
  Locked,
  LockLost,
  LockTimeout,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import {
  aborted,
  always,
  type Case,
  later,
  RENEWED,
  renewedTwice,
  withQueue,
  withRenewals,
  withRows,
} from "../case.ts";

/** `getLocks`: all names or none. */
export const several: readonly Case[] = [
  always("several names are held together and released together", async ({ backend, another }) => {
    const other = await another();
    {
      await using set = await getLocks(["b", "a", "b", "c"], { backend, lockedBy: "host-a" });
      assert.deepEqual(set.locks.map(({ name }) => name), ["b", "a", "c"]);
      assert(set.held && !set.signal.aborted);
      for (const { name, lockedBy } of set.locks) {
        assert.equal(lockedBy, "host-a");
        assert.equal(await tryLock(name, { backend: other }), undefined);
      }
    }
    await using again = await getLocks(["c", "a", "b"], { backend: other });
    assert.equal(await again.unlock(), true);
    assert.equal(again.held, false);
    assert.equal(await again.unlock(), false);
    assert.equal((await getLocks([], { backend })).held, true);
  }),

  always("the names are those that were given when getLocks was called", async ({ backend }) => {
    const names = ["a", "b"];
    const waiting = getLocks(names, { backend });
    names.splice(0, 1, "");
    await using set = await waiting;
    assert.deepEqual(set.locks.map(({ name }) => name), ["a", "b"]);
    const sparse = ["a"];
    sparse[2] = "c";
    for (const wrong of [sparse, [null], "a", new Set(["a"])] as unknown as string[][]) {
      await assert.rejects(getLocks(wrong, { backend }), { name: "TypeError", message: /^Cannot use .*: want / });
    }
  }),

  always("of several names none is held if one is", async ({ backend, another }) => {
    await using held = await getLock("b", { backend: await another(), lockedBy: "host-b" });
    const isBusy = (error: unknown) => error instanceof Locked && error.lockName === "b";
    await assert.rejects(getLocks(["c", "b", "a"], { backend }), isBusy);
    await assert.rejects(getLocks(["c", "b", "a"], { backend, wait: 0.05 }), (error) => {
      return isBusy(error) && error instanceof LockTimeout && / within 0\.05 s/.test(error.message);
    });
    for (const name of ["a", "c"]) assert.equal(await isLocked(name, { backend }), false);
    await held.unlock();
    await using set = await getLocks(["c", "b", "a"], { backend, wait: 0.05 });
    assert(set.held);
  }),

  always("a caller that waits for several names gets them when the last is free", async ({ backend, another }) => {
    const other = await another();
    const [last, first] = [await getLock("z", { backend: other }), await getLock("a", { backend: other })];
    const waiting = later(getLocks(["z", "m", "a"], { backend, wait: 30 }));
    await first.unlock();
    while (await isLocked("m", { backend: other }) === false); // it keeps what it has, and waits for the last one
    await last.unlock();
    await using set = await waiting;
    assert.deepEqual([set.held, set.locks.length], [true, 3]);
  }),

  withQueue("several names are shared, counted or stolen as one name is", async ({ backend, another }) => {
    const other = await another();
    for (const names of [["a"], ["b", "a"]]) {
      for (const [options, limit] of [[{ shared: true }, Infinity], [{ limit: 2, metadata: [1] }, 2]] as const) {
        await using one = await getLocks(names, { backend, expires: 60, ...options });
        await using two = await getLocks(names, { backend: other, wait: 5, ...options });
        for (const lock of [...one.locks, ...two.locks]) {
          assert.deepEqual([lock.limit, lock.metadata], [limit, limit === 2 ? [1] : null]);
        }
        assert.deepEqual((await listLocks({ backend, names: ["a"] })).map((lock) => lock.limit), [limit, limit]);
        await assert.rejects(getLocks([...names, "c"], { backend: other }), Locked);
        if (limit === 2) await assert.rejects(getLocks(["A", ...names], { backend, ...options }), Locked);
        assert.deepEqual([await isLocked("A", { backend }), await isLocked("c", { backend })], [false, false]);
        await using thief = await getLocks(names, { backend, steal: true });
        assert.deepEqual([thief.held, thief.locks[0].limit], [true, 1]);
        for (const lock of [...one.locks, ...two.locks]) assert.equal(await lock.verify(), false);
      }
    }
  }),

  always("names are acquired in the order of their code points", async ({ backend, another }) => {
    const other = await another();
    const last = await getLock("🔒", { backend: other });
    const waiting = later(getLocks(["🔒", "\uffee"], { backend, wait: 30 }));
    while (await isLocked("\uffee", { backend: other }) === false);
    await last.unlock();
    await using _set = await waiting;
  }),

  always("an aborted wait for several names leaves none held", async ({ backend, another }) => {
    const other = await another();
    await using _held = await getLock("z", { backend: other });
    for (const reason of [new Error("enough"), new Locked("other")]) {
      const controller = new AbortController();
      const waiting = later(getLocks(["a", "z"], { backend, wait: Infinity, signal: controller.signal }));
      while (await isLocked("a", { backend: other }) === false);
      controller.abort(reason);
      await assert.rejects(waiting, (error) => error === reason);
      await using _freed = await getLock("a", { backend: other, wait: 30 }); // granted in an answer on its way, it is undone
      await assert.rejects(getLocks(["a"], { backend, signal: controller.signal }), (error) => error === reason);
    }
  }),

  withRenewals("what is held while waiting for another name does not expire", async ({ backend, another }) => {
    const other = await another();
    const last = await getLock("z", { backend: other });
    const waiting = later(getLocks(["a", "z"], { backend, wait: 30, expires: RENEWED }));
    while (await isLocked("a", { backend: other }) === false);
    await renewedTwice(other, "a");
    await last.unlock();
    await using set = await waiting;
    assert(set.held);
    assert(set.locks.every(({ expiresIn }) => expiresIn! > RENEWED / 2));
  }),

  withRenewals("a lock that is lost while waiting for another name ends the wait", async ({ backend, another }) => {
    const other = await another();
    await using _held = await getLock("z", { backend: other });
    const waiting = later(getLocks(["a", "b", "z"], { backend, wait: Infinity, expires: RENEWED }));
    while (await isLocked("b", { backend: other }) === false);
    // a request that has not been answered takes the name again
    while (backend.queueing && (await listLocks({ backend: other, names: ["z"] }))[0].waiters === 0);
    await unlock("a", { backend: other });
    await assert.rejects(waiting, (error) => error instanceof LockLost && error.lockName === "a");
    await using _freed = await getLock("b", { backend: other, wait: 30 });
  }),

  withRows("the loss of one of several locks is signalled", async ({ backend, another }) => {
    await using set = await getLocks(["a", "b"], { backend, expires: 60 });
    await set.renew({ expires: 90, addTime: true });
    assert(set.locks.every(({ expiresIn }) => expiresIn! > 120));
    const lost = aborted(set.signal);
    await unlock("b", { backend: await another() });
    await assert.rejects(set.renew(), LockLost);
    assert(await lost instanceof LockLost);
    assert.equal(set.held, false);
    assert.equal(set.locks[0].held, true);
    assert.equal(await set.unlock(), false);
  }),

  always("callers that give their names in any order never deadlock", async ({ backend, another }) => {
    const backends = [backend, await another(), await another()];
    const names = Array.from("abcdefgh");
    const holders = new Map<string, number>();
    const work = async (caller: number) => {
      for (let round = 0; round < 3; round++) {
        const wanted = names.toSorted(() => Math.random() - 0.5).slice(0, 2 + (caller + round) % 7);
        await using _set = await getLocks(wanted, { backend: backends[caller % 3], wait: 60 });
        for (const name of wanted) {
          assert.equal(holders.get(name), undefined, `${name} is held twice`);
          holders.set(name, caller);
        }
        await new Promise((resolve) => setTimeout(resolve, 1));
        for (const name of wanted) holders.delete(name);
      }
    };
    await Promise.all(Array.from({ length: 12 }, (_, caller) => work(caller)));
    for (const name of names) assert.equal(await isLocked(name, { backend }), false);
  }),
];
