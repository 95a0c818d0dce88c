import { getLock, isLocked, Locked, LockLost, tryLock, unlock, withLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import {
  aborted,
  always,
  type Case,
  deferred,
  later,
  RENEWED,
  renewedTwice,
  turn,
  withRenewals,
  withRows,
} from "../case.ts";

/** Runs `body` while the wall clock of this process is wrong by hours and jumps. */
async function withWrongClock(body: () => Promise<void>): Promise<void> {
  const { now } = Date;
  let jump = 0;
  Date.now = () => now() + (jump++ % 2 ? 5 : -7) * 3_600_000;
  try {
    await body();
  } finally {
    Date.now = now;
  }
}

/** What a holder may believe, and how it is told of a loss. */
export const holding: readonly Case[] = [
  always("a lock is held from grant to release", async ({ backend }) => {
    const lock = await getLock("a", { backend });
    assert.equal(lock.held, true);
    assert.equal(await lock.verify(), true);
    assert.equal(lock.signal.aborted, false);
    await lock.unlock();
    assert.equal(lock.held, false);
    assert.equal(await lock.verify(), false);
    assert.equal(lock.signal.aborted, false);
  }),

  withRows("the signal aborts before another can get the name, and stays so", async ({ backend, another }) => {
    const lock = await getLock("a", { backend, expires: 0.2 });
    const lost = aborted(lock.signal).then((reason) => ({ reason, at: performance.now() }));
    const next = await getLock("a", { backend: await another(), wait: 10 });
    const grantedAt = performance.now();
    const { reason, at } = await lost;
    assert(at <= grantedAt, `told ${at - grantedAt} ms after another had it`);
    assert(reason instanceof LockLost);
    assert.equal(reason.lockName, "a");
    assert.equal(lock.held, false);
    await next.unlock();
    assert.equal(await lock.verify(), false);
    await assert.rejects(lock.refresh(), LockLost);
  }),

  withRows("verify, renew and refresh detect a loss that only the server knows", async ({ backend, another }) => {
    const other = await another();
    for (const ask of ["verify", "renew", "refresh"] as const) {
      const lock = await getLock(ask, { backend });
      await unlock(ask, { backend: other });
      const stranger = await getLock(ask, { backend: other });
      assert.equal(lock.held, true);
      if (ask === "verify") assert.equal(await lock.verify(), false);
      else await assert.rejects(lock[ask](), LockLost);
      assert.equal(lock.held, false);
      assert(lock.signal.reason instanceof LockLost);
      assert.equal(await stranger.verify(), true);
    }
  }),

  withRenewals("autoRenew keeps a lease alive until release", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend, expires: RENEWED, autoRenew: true });
    await renewedTwice(backend, "a");
    assert.equal(lock.held, true);
    assert.equal(await tryLock("a", { backend: other }), undefined);
    assert.equal(await lock.unlock(), true);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  withRows("autoRenew detects a loss and never acquires the name again", async ({ backend, another }) => {
    const lock = await getLock("a", { backend, expires: 0.3, autoRenew: true });
    await unlock("a", { backend: await another() });
    assert(await aborted(lock.signal) instanceof LockLost);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  withRenewals("the renewals of many locks are batched", async ({ backend }) => {
    const names = Array.from({ length: 30 }, (_, index) => `lock ${index}`);
    const locks = await Promise.all(names.map((name) => getLock(name, { backend, expires: RENEWED, autoRenew: true })));
    await renewedTwice(backend, ...names);
    for (const lock of locks) assert.equal(await lock.verify(), true, lock.name);
    await Promise.all(locks.map((lock) => lock.unlock()));
  }),

  withRenewals("a wall clock that is hours off and jumps changes nothing", async ({ backend, another }) => {
    const other = await another();
    await withWrongClock(async () => {
      const lock = await getLock("a", { backend, expires: RENEWED, autoRenew: true });
      const renewed = later(renewedTwice(backend, "a"));
      const fixed = await getLock("b", { backend, expires: RENEWED });
      assert.equal(lock.expired, false);
      assert.equal(fixed.held, true);
      assert(fixed.expiresIn! > 0 && fixed.expiresIn! <= RENEWED);
      assert.equal(await backend.clean("expired"), 0);
      assert.equal(await tryLock("b", { backend: other }), undefined);
      await aborted(fixed.signal);
      const next = await getLock("b", { backend: other, wait: 10 });
      assert(next.token > fixed.token);
      await renewed;
      assert.equal(lock.held, true);
      assert.equal(await lock.unlock(), true);
    });
  }),

  withRows("an expired lock is not held after the event loop was blocked", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: 0.1 });
    const end = performance.now() + 150;
    while (performance.now() < end);
    assert.equal(lock.held, false);
    assert(lock.signal.aborted);
  }),

  always("withLock holds the lock while its body runs and returns its result", async ({ backend }) => {
    const value = await withLock("a", { backend }, async (lock) => {
      assert.equal(await isLocked("a", { backend }), true);
      assert.equal(lock.held, true);
      return 42;
    });
    assert.equal(value, 42);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  always("withLock does not run its body when the name is busy", async ({ backend }) => {
    await getLock("a", { backend });
    await assert.rejects(withLock("a", { backend }, () => assert.fail("ran")), Locked);
  }),

  always("withLock rejects with the body's own error and releases", async ({ backend }) => {
    const own = new Error("the body's own");
    await assert.rejects(withLock("a", { backend }, () => Promise.reject(own)), (error) => error === own);
    await assert.rejects(
      withLock("a", { backend }, () => {
        throw own;
      }),
      (error) => error === own,
    );
    assert.equal(await isLocked("a", { backend }), false);
  }),

  withRenewals("withLock renews as long as the body runs", async ({ backend, another }) => {
    const other = await another();
    await withLock("a", { backend, expires: RENEWED }, async () => {
      await renewedTwice(backend, "a");
      assert.equal(await tryLock("a", { backend: other }), undefined);
    });
  }),

  withRows("withLock throws LockLost even though its body returned", async ({ backend, another }) => {
    const other = await another();
    const lose = () => unlock("a", { backend: other });
    await assert.rejects(withLock("a", { backend }, lose), LockLost);
    const own = new Error("the body's own");
    const loseAndThrow = async () => {
      await lose();
      throw own;
    };
    await assert.rejects(withLock("a", { backend }, loseAndThrow), (error) => error === own);
    await withLock("a", { backend }, async (lock) => void await lock.unlock()); // an early release is no loss
  }),

  withRows("withLock throws LockLost when the lease expires while its body runs", async ({ backend }) => {
    const gate = deferred();
    const run = later(withLock("a", { backend, expires: 0.1, autoRenew: false }, async (lock) => {
      await aborted(lock.signal);
      gate.resolve();
    }));
    await gate.promise;
    await assert.rejects(run, LockLost);
  }),

  withRenewals("frequent refreshes do not delay automatic renewal", async ({ backend }) => {
    const lock = await getLock("a", { backend, expires: RENEWED, autoRenew: true });
    const until = performance.now() + RENEWED * 1.3e3;
    for (; performance.now() < until; await turn()) await lock.refresh();
    assert(lock.held);
    await lock.unlock();
  }),
];
