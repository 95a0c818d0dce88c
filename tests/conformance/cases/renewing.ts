import {
  getLock,
  isLocked,
  listLocks,
  Lock,
  Locked,
  LockLost,
  LockNotFound,
  renewLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, type Case, turn, withRenewals, withRows } from "../case.ts";

/** Whether two numbers of seconds are the same but for the time that the test itself took. */
function near(actual: number | null, wanted: number): void {
  assert(actual !== null && actual <= wanted + 0.01 && actual > wanted - 5, `${actual} s, wanted ${wanted} s`);
}

/** Giving a lock more time. */
export const renewing: readonly Case[] = [
  withRows("by name a lock gets more time (test_renew_existing_name)", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 10 });
    const record = await renewLock("a", { backend, expires: 60 });
    near(record.expiresIn, 60);
    assert(!(record instanceof Lock));
    assert.equal(record.token, lock.token);
    assert(record.lockedUntil! > lock.lockedUntil!);
  }),

  withRows("by name time is added (test_renew_existing_name_add_time)", async ({ backend }) => {
    await getLock("a", { backend, expires: 10 });
    near((await renewLock("a", { backend, expires: 60, addTime: true })).expiresIn, 70);
    near((await renewLock("a", { backend, expires: 60, addTime: true })).expiresIn, 130);
  }),

  withRows("by handle a lock gets more time (test_renew_lock_object)", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 10 });
    const { createdAt, updatedAt } = lock;
    assert.equal(await renewLock(lock, { expires: 60 }), lock);
    near(lock.expiresIn, 60);
    assert.equal(lock.createdAt.getTime(), createdAt.getTime());
    assert(lock.updatedAt >= updatedAt);
    assert.equal(await lock.renew({ expires: 90 }), lock);
    near(lock.expiresIn, 90);
  }),

  withRows("updatedAt is the time of the last renewal, createdAt that of the grant", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 60 });
    const { createdAt } = lock;
    for (const renew of [() => lock.renew({ expires: 120 }), () => renewLock("a", { backend, expires: 240 })]) {
      const before = (await lock.refresh()).updatedAt.getTime();
      while ((await backend.list({ names: ["a"] }))[0].now < (before + 1) * 1e3) await turn();
      const renewed = await renew();
      const [stored] = await listLocks({ backend });
      for (const { updatedAt } of [renewed, stored]) assert(updatedAt.getTime() > before, "updatedAt has not moved");
      assert.equal(stored.createdAt.getTime(), createdAt.getTime());
    }
  }),

  withRows(
    "by handle time is added to the expiry that it last saw, so a repeat adds once (test_renew_existing_object_add_time)",
    async ({ backend }) => {
      const lock = await getLock("a", { backend, expires: 10 });
      await renewLock(lock, { expires: 60, addTime: true });
      near(lock.expiresIn, 70);
      await renewLock(lock, { expires: 60, addTime: true });
      near(lock.expiresIn, 130);
      await renewLock("a", { backend, expires: 1000 });
      await renewLock(lock, { expires: 60, addTime: true }); // from 130 to 190: nearer than the 1000 there
      near(lock.expiresIn, 1000);
    },
  ),

  withRows("a free name cannot be renewed (test_renew_non_existing_name)", async ({ backend }) => {
    await assert.rejects(renewLock("a", { backend }), LockNotFound);
    const lock = await getLock("a", { backend, expires: 0.05 });
    await aborted(lock.signal);
    await getLock("a", { backend, wait: 10 }).then((next) => next.unlock());
    await assert.rejects(renewLock("a", { backend }), (error) => {
      assert(error instanceof LockNotFound && !(error instanceof LockLost));
      assert.equal(error.code, "LOCK_NOT_FOUND");
      return true;
    });
    await assert.rejects(lock.renew(), LockLost);
  }),

  withRows("create acquires a free name (test_renew_non_existing_name_create)", async ({ backend }) => {
    const made = await renewLock("a", { backend, expires: 60, create: true, lockedBy: "host-a", lockProcess: 3 });
    assert(made instanceof Lock);
    assert.equal(made.lockedBy, "host-a");
    assert.equal(made.lockProcess, 3);
    near(made.expiresIn, 60);
    assert.equal(await made.unlock(), true);
  }),

  withRows("create leaves the holder's name when there is one", async ({ backend }) => {
    await getLock("a", { backend, expires: 10, lockedBy: "host-a" });
    const record = await renewLock("a", { backend, expires: 60, create: true, lockedBy: "host-b" });
    assert.equal(record.lockedBy, "host-a");
    assert(!(record instanceof Lock));
  }),

  withRows("by handle create acquires the name again, or throws Locked", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend, expires: 600 });
    await unlock("a", { backend: other });
    const fresh = await lock.renew({ create: true, expires: 60 });
    assert.notEqual(fresh, lock);
    assert(fresh.token > lock.token);
    assert.equal(lock.held, false);
    assert.equal(fresh.held, true);
    await unlock("a", { backend: other });
    const stranger = await getLock("a", { backend: other, expires: 60 });
    const until = stranger.lockedUntil!.getTime();
    await assert.rejects(fresh.renew({ create: true, expires: 900 }), Locked);
    assert.equal((await stranger.refresh()).lockedUntil!.getTime(), until);
  }),

  withRows("a released handle is not renewed", async ({ backend }) => {
    const lock = await getLock("a", { backend });
    await lock.unlock();
    await assert.rejects(lock.renew(), LockLost);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  withRows("a nearer expiry leaves the later one (test_renew_shorter_expiration)", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 600 });
    const until = lock.lockedUntil!.getTime();
    await lock.renew({ expires: 1 });
    assert.equal(lock.lockedUntil!.getTime(), until);
    assert.equal((await renewLock("a", { backend, expires: 1 })).lockedUntil!.getTime(), until);
  }),

  withRows("a shorter time can be added (test_renew_shorter_expiration_add_time)", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 600 });
    await lock.renew({ expires: 5, addTime: true });
    near(lock.expiresIn, 605);
  }),

  withRows("expires 0 makes a lock never expire, and it stays so", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 10 });
    await lock.renew({ expires: 0 });
    assert.equal(lock.lockedUntil, null);
    for (const addTime of [false, true]) {
      await lock.renew({ expires: 60, addTime });
      assert.equal(lock.lockedUntil, null);
      assert.equal((await renewLock("a", { backend, expires: 60, addTime })).lockedUntil, null);
    }
    await getLock("b", { backend, expires: 10 });
    assert.equal((await renewLock("b", { backend, expires: 0, addTime: true })).lockedUntil, null);
  }),

  withRenewals("a renewed handle is held for the longer time", async ({ backend, another }) => {
    await using lock = await getLock("a", { backend, expires: 2.2 });
    const { signal } = lock;
    await lock.renew({ expires: 60 });
    const short = await getLock("clock", { backend, expires: 2.3 });
    await aborted(short.signal);
    assert.equal(lock.held, true);
    assert.equal(signal.aborted, false);
    assert.equal(await tryLock("a", { backend: await another() }), undefined);
  }),
];
