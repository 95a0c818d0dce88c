import {
  getLock,
  isLocked,
  listLocks,
  Locked,
  LockLost,
  LockMgr,
  LockNotFound,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, always, type Case, later, RENEWED, renewedTwice, withRenewals, withRows } from "../case.ts";

/** `LockMgr`: a scope that releases all it still holds. */
export const managing: readonly Case[] = [
  always("a manager holds its locks while its block runs (test_lockmgr)", async ({ backend }) => {
    {
      await using mgr = await LockMgr.acquire("test_lockmgr", { backend });
      assert.equal(await isLocked("test_lockmgr", { backend }), true);
      await mgr.lock("test_lockmgr2");
      assert.equal(await isLocked("test_lockmgr2", { backend }), true);
      assert.deepEqual(mgr.locks.map(({ name }) => name), ["test_lockmgr", "test_lockmgr2"]);
      assert.equal(mgr.mainLock, mgr.locks[0]);
    }
    assert.equal(await isLocked("test_lockmgr", { backend }), false);
    assert.equal(await isLocked("test_lockmgr2", { backend }), false);
  }),

  always("a manager releases after an error (test_lockmgr_except)", async ({ backend }) => {
    const own = new Error("the body's own");
    await assert.rejects(async () => {
      await using mgr = await LockMgr.acquire("a", { backend });
      await mgr.lock("b");
      throw own;
    }, (error) => error === own);
    for (const name of ["a", "b"]) assert.equal(await isLocked(name, { backend }), false);
  }),

  withRows("a manager that is used again after a loss has a signal of its new locks", async ({ backend, another }) => {
    const other = await another();
    const mgr = new LockMgr("a", { backend });
    await mgr.acquire();
    const first = mgr.signal;
    await unlock("a", { backend: other });
    await assert.rejects(mgr.mainLock!.renew(), LockLost);
    assert.equal(first.aborted, true);
    await mgr[Symbol.asyncDispose]();
    await mgr.acquire();
    assert.deepEqual([mgr.mainLock!.held, mgr.signal.aborted, first.aborted], [true, false, true]);
    await unlock("a", { backend: other });
    await assert.rejects(mgr.mainLock!.renew(), LockLost);
    assert.equal(mgr.signal.aborted, true);
    await mgr[Symbol.asyncDispose]();
  }),

  always("the constructor does no I/O and shows its options", ({ backend }) => {
    const mgr = new LockMgr("a", { backend, lockedBy: "host-a", lockProcess: 4, wait: 7 });
    assert.deepEqual([mgr.name, mgr.expires, mgr.lockedBy, mgr.lockProcess, mgr.wait], ["a", 600, "host-a", 4, 7]);
    assert.equal(mgr.mainLock, null);
    assert.deepEqual(mgr.locks, []);
    assert.equal(mgr.signal.aborted, false);
    assert.throws(() => new LockMgr("", { backend }), RangeError);
    assert.throws(() => new LockMgr("a", { backend, expires: -1 }), RangeError);
    assert.throws(() => new LockMgr("a", { backend, wait: NaN }), RangeError);
    return Promise.resolve();
  }),

  withRows("a manager's metadata is that of each of its locks", async ({ backend }) => {
    await using mgr = await LockMgr.acquire("a", { backend, metadata: { shard: 7 } });
    await mgr.lock("b");
    await mgr.tryLock("c");
    await mgr.renew("d");
    const stored = (await listLocks({ backend })).map(({ name, metadata }) => [name, metadata]);
    assert.deepEqual(stored, ["a", "b", "c", "d"].map((name) => [name, { shard: 7 }]));
    assert.deepEqual(mgr.mainLock?.metadata, { shard: 7 });
  }),

  always("acquire and lock take the wait and the expiry of one lock", async ({ backend }, { mode }) => {
    const lock = await getLock("a", { backend });
    const mgr = new LockMgr("a", { backend });
    const waiting = mgr.acquire({ wait: 30, expires: mode === "session" ? null : 60 });
    await lock.unlock();
    await using _mgr = await waiting;
    assert.equal(mgr.expires, 600);
    if (mode !== "session") assert(mgr.mainLock!.expiresIn! <= 60);
  }),

  withRows("the main lock waits for a lock that expires in time (test_lock_wait)", async ({ backend, another }) => {
    await getLock("a", { backend: await another(), expires: 0.1 });
    await using mgr = await LockMgr.acquire("a", { backend, wait: 10 });
    assert.equal(mgr.mainLock?.held, true);
  }),

  always("a manager gives up waiting (test_lock_wait_timeout)", async ({ backend }) => {
    const lock = await getLock("a", { backend });
    await assert.rejects(LockMgr.acquire("a", { backend, wait: 0.05 }), Locked);
    const mgr = new LockMgr("b", { backend, wait: 0.05 });
    await assert.rejects(mgr.lock("a"), Locked);
    assert.equal(await mgr.tryLock("a", { wait: 0 }), undefined);
    await lock.unlock();
    await using _mgr = mgr;
    assert((await mgr.tryLock("a"))?.held);
  }),

  always("unlock by name releases this manager's lock only", async ({ backend, another }) => {
    const stranger = await getLock("theirs", { backend: await another() });
    await using mgr = await LockMgr.acquire("mine", { backend });
    assert.equal(await mgr.unlock("theirs"), false);
    assert.equal(await stranger.verify(), true);
    assert.equal(await mgr.unlock("mine"), true);
    assert.equal(mgr.mainLock, null);
    assert.equal(await mgr.unlock(), false);
    assert.deepEqual(mgr.locks, []);
  }),

  always(
    "a name that was released and acquired by another client is not released at the end",
    async ({ backend, another }) => {
      let stranger;
      {
        await using mgr = await LockMgr.acquire("main", { backend });
        if (await mgr.tryLock("other")) await mgr.unlock("other");
        stranger = await getLock("other", { backend: await another() });
      }
      assert.equal(await stranger.verify(), true);
    },
  ),

  withRows("renew adds to the main lock (test_lockmgr_renew_main)", async ({ backend }) => {
    await using mgr = await LockMgr.acquire("a", { backend, expires: 30 });
    const { mainLock } = mgr;
    assert.equal(await mgr.renew(), mainLock);
    assert(mainLock!.expiresIn! > 145 && mainLock!.expiresIn! <= 150);
    await mgr.renew(undefined, { expires: 30 });
    assert(mainLock!.expiresIn! > 175);
    await mgr.renew("a", { expires: 500, addTime: false });
    assert(mainLock!.expiresIn! > 495 && mainLock!.expiresIn! <= 500);
  }),

  withRows("renew acquires an expired main lock again (test_lockmgr_renew_expired)", async ({ backend }) => {
    await using mgr = await LockMgr.acquire("a", { backend, expires: 0.05 });
    const { mainLock } = mgr;
    await aborted(mainLock!.signal);
    const fresh = await mgr.renew(undefined, { expires: 60 });
    assert.equal(mgr.mainLock, fresh);
    assert.deepEqual(mgr.locks, [fresh]);
    assert(fresh.expiresIn! > 55 && fresh.expiresIn! <= 60);
    assert(fresh.token > mainLock!.token);
  }),

  withRows("a lock that renew had to create is released with the others", async ({ backend }) => {
    {
      await using mgr = await LockMgr.acquire("a", { backend, lockedBy: "host-a" });
      const taken = await mgr.renew("lockx", { expires: 60 });
      assert.equal(taken.lockedBy, "host-a");
      assert.equal(mgr.locks.length, 2);
      await assert.rejects(mgr.renew("absent", { create: false }), LockNotFound);
    }
    assert.equal(await isLocked("lockx", { backend }), false);
  }),

  withRows("renew never extends the lock of another holder", async ({ backend, another }) => {
    const stranger = await getLock("theirs", { backend: await another(), expires: 60 });
    const until = stranger.lockedUntil!.getTime();
    await using mgr = await LockMgr.acquire("mine", { backend });
    await assert.rejects(mgr.renew("theirs", { expires: 900 }), Locked);
    assert.equal((await stranger.refresh()).lockedUntil!.getTime(), until);
  }),

  withRows("its signal aborts when any of its locks is lost", async ({ backend, another }) => {
    await using mgr = await LockMgr.acquire("a", { backend, expires: 600 });
    const { signal } = mgr;
    await mgr.lock("b", { expires: 0.1 });
    assert(await aborted(signal) instanceof LockLost);
    assert.equal(await tryLock("a", { backend: await another() }), undefined);
  }),

  withRenewals("autoRenew renews all locks of a manager", async ({ backend, another }) => {
    const other = await another();
    await using mgr = await LockMgr.acquire("a", { backend, expires: RENEWED, autoRenew: true });
    await mgr.lock("b");
    await renewedTwice(backend, "a", "b");
    for (const name of ["a", "b"]) assert.equal(await tryLock(name, { backend: other }), undefined);
  }),

  withRows("a lock that was lost does not keep the others from being released", async ({ backend }) => {
    const own = new Error("the body's own");
    await assert.rejects(async () => {
      await using mgr = await LockMgr.acquire("a", { backend });
      await mgr.lock("b");
      await mgr.lock("c");
      await unlock("b", { backend });
      throw own;
    }, (error) => error === own);
    for (const name of ["a", "b", "c"]) assert.equal(await isLocked(name, { backend }), false);
  }),

  always("disposal is idempotent, and a lock granted after it is released", async ({ backend }) => {
    const mgr = await LockMgr.acquire("a", { backend });
    const holder = await getLock("late", { backend });
    const late = later(mgr.lock("late", { wait: 10 }));
    await mgr[Symbol.asyncDispose]();
    await mgr[Symbol.asyncDispose]();
    await holder.unlock();
    await assert.rejects(late, LockNotFound);
    assert.equal(await isLocked("late", { backend }), false);
    assert.equal(mgr.mainLock, null);
  }),
];
