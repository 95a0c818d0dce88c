import {
  cleanLocks,
  getLock,
  isLocked,
  listLocks,
  type Lock,
  Locked,
  LockFail,
  LockLost,
  LockMgr,
  LockTimeout,
  renewLock,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, type Case, later, RENEWED, renewedTwice, turn, within, withRenewals, withRows } from "../case.ts";

/** The twelve defects that were found in django-lockmgr 2.0.0, each by its number and name; none of them may be here. */
export const defects: readonly Case[] = [
  withRows(
    "defect 1, race in get_lock: every loser gets Locked, never a database error",
    async ({ backend, another }) => {
      const backends = [backend, await another(), await another(), await another()];
      for (let round = 0; round < 10; round++) {
        const tries = Array.from(
          { length: 8 },
          (_, index) => getLock(`race ${round}`, { backend: backends[index % 4] }),
        );
        const results = await Promise.allSettled(tries);
        const losers = results.filter((result) => result.status === "rejected");
        assert.equal(losers.length, 7);
        for (const { reason } of losers) assert(reason instanceof Locked, String(reason));
      }
    },
  ),

  withRows(
    "defect 2, stale object frees or extends the next owner's lock: it can do neither",
    async ({ backend, another }) => {
      const stale = await getLock("a", { backend, expires: 0.03 });
      const next = await getLock("a", { backend: await another(), expires: 60, wait: 10 });
      assert.equal(await unlock(stale), false);
      await assert.rejects(renewLock(stale, { expires: 900 }), LockLost);
      await assert.rejects(renewLock(stale, { expires: 900, create: true }), Locked);
      assert.equal(await next.verify(), true);
      assert((await next.refresh()).expiresIn! <= 60);
    },
  ),

  withRows(
    "defect 3, the documented pattern is unsafe: a lock released by name is not released again at the end",
    async ({ backend, another }) => {
      let stranger: Lock;
      {
        await using mgr = await LockMgr.acquire("main", { backend });
        await mgr.lock("other");
        await mgr.unlock("other");
        stranger = await getLock("other", { backend: await another() });
      }
      assert.equal(await stranger.verify(), true);
    },
  ),

  withRows("defect 4, unlock inside the block: the rest is released and the body's error kept", async ({ backend }) => {
    const own = new Error("the body's own");
    await assert.rejects(async () => {
      await using mgr = await LockMgr.acquire("a", { backend });
      await mgr.lock("b");
      await mgr.unlock();
      throw own;
    }, (error) => error === own);
    assert.deepEqual(await listLocks({ backend }), []);
  }),

  withRows(
    "defect 5, renew after loss: the signal aborts, and the new lock belongs to the manager",
    async ({ backend }) => {
      {
        await using mgr = await LockMgr.acquire("a", { backend, lockedBy: "worker-1", expires: 600 });
        const { signal } = mgr;
        await unlock("a", { backend });
        const fresh = await mgr.renew();
        assert(signal.reason instanceof LockLost);
        assert.equal(fresh.lockedBy, "worker-1");
        assert.equal((await mgr.renew("b")).lockedBy, "worker-1");
      }
      assert.deepEqual(await listLocks({ backend }), []);
    },
  ),

  withRows(
    "defect 6, lost update and resurrection: renewing a removed lock brings nothing back",
    async ({ backend, another }) => {
      const lock = await getLock("a", { backend });
      await Promise.allSettled([lock.renew({ expires: 900 }), unlock("a", { backend: await another() })]);
      assert.equal(await isLocked("a", { backend }), false);
      await assert.rejects(lock.renew(), LockLost);
      assert.equal(await isLocked("a", { backend }), false);
      assert.deepEqual(await listLocks({ backend, includeExpired: true }), []);
    },
  ),

  withRows(
    "defect 7, client clock: a clock an hour ahead deletes nothing, and reading never does",
    async ({ backend, another }) => {
      const lock = await getLock("a", { backend, expires: 600 });
      const other = await another();
      const { now } = Date;
      Date.now = () => now() + 3_600_000;
      try {
        assert.equal(await isLocked("b", { backend: other }), false);
        assert.equal((await listLocks({ backend: other })).length, 1);
        assert.equal(await cleanLocks({ backend: other }), 0);
        assert.equal(await tryLock("a", { backend: other }), undefined);
      } finally {
        Date.now = now;
      }
      assert.equal(await lock.verify(), true);
    },
  ),

  withRows("defect 8, polling: any wait is allowed, exact, and ended by the release", async ({ backend }) => {
    await within(2_000, async () => {
      const holder = await getLock("a", { backend });
      await assert.rejects(getLock("a", { backend, wait: 0.07 }), LockTimeout);
      const waiter = later(getLock("a", { backend, wait: 10_000 }));
      await turn();
      const releasedAt = performance.now();
      await holder.unlock();
      await (await waiter).unlock();
      return performance.now() - releasedAt;
    });
  }),

  withRows("defect 9, locks without expiry can be made, renewed, set and released", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: null });
    await lock.renew({ expires: 60 });
    await renewLock("a", { backend, expires: 60, addTime: true });
    assert.equal((await lock.refresh()).lockedUntil, null);
    const { locks } = await setLock(["b", "c"], { backend, expires: null });
    assert.deepEqual(locks.map(({ lockedUntil }) => lockedUntil), [null, null]);
    assert.equal((await setLock(["b"], { backend, expires: 60 })).locks[0].lockedUntil, null);
    assert.equal(await lock.unlock(), true);
  }),

  withRows(
    "defect 10, set_lock: fail is LockFail with the record, no order deadlocks, statuses tell the truth",
    async ({ backend, another }) => {
      const other = await another();
      await getLock("b", { backend, lockedBy: "host-a" });
      await assert.rejects(setLock(["a", "b"], { backend, fail: true }), (error) => {
        return error instanceof LockFail && error.lock?.lockedBy === "host-a";
      });
      const skipped = await setLock(["b"], { backend, renew: false });
      assert.deepEqual(skipped.statuses[0][1], { wasLocked: true, status: "skip", locked: true });
      for (let round = 0; round < 5; round++) {
        await Promise.all([setLock(["x", "y", "z"], { backend }), setLock(["z", "y", "x"], { backend: other })]);
      }
    },
  ),

  withRows(
    "defect 11, inside a transaction: a lock is seen at once by others and no rollback takes it back",
    async ({ backend, another }) => {
      const lock = await getLock("a", { backend });
      assert.equal(await isLocked("a", { backend: await another() }), true);
      assert.equal(await lock.verify(), true);
    },
  ),

  withRenewals(
    "defect 12, no token, no heartbeat, no loss signal: all three are there, and names are alike everywhere",
    async ({ backend, another }) => {
      const first = await getLock("CaseKey", { backend, expires: RENEWED, autoRenew: true });
      const twin = await getLock("casekey", { backend });
      await renewedTwice(backend, "CaseKey");
      assert.equal(first.held, true);
      const other = await another();
      await unlock("CaseKey", { backend: other });
      assert(await aborted(first.signal) instanceof LockLost);
      const second = await getLock("CaseKey", { backend: other });
      assert(second.token > first.token);
      assert.equal(await twin.verify(), true);
      assert.equal(await unlock("nothing", { backend }), false);
    },
  ),
];
