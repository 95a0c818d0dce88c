import { getLock, isLocked, type Lock, Locked, LockTimeout, tryLock, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, later, turn, within, withRows } from "../case.ts";

/** Waiting for a name. */
export const waiting: readonly Case[] = [
  always("a waiter acquires the lock when another backend releases it", async ({ backend, another }) => {
    const other = await another();
    await within(2_000, async () => {
      const lock = await getLock("a", { backend: other });
      const waiter = later(getLock("a", { backend, wait: 10 }));
      await turn();
      const releasedAt = performance.now();
      await lock.unlock();
      await using next = await waiter;
      assert(next.token > lock.token);
      return performance.now() - releasedAt;
    });
  }),

  always("waiters of one process are served in order", async ({ backend }) => {
    const first = await getLock("a", { backend });
    const order: number[] = [];
    const waiters = later(Promise.all(Array.from({ length: 10 }, async (_, index) => {
      const lock = await getLock("a", { backend, wait: 20 });
      order.push(index);
      await lock.unlock();
    })));
    await turn();
    await first.unlock();
    await waiters;
    assert.deepEqual(order, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  }),

  always("no caller of a process overtakes its waiters", async ({ backend, another }) => {
    const other = await another();
    const holder = await getLock("a", { backend: other });
    let served: Lock | undefined;
    const waiter = later(getLock("a", { backend, wait: 20 }).then((lock) => served = lock));
    await turn();
    assert.equal(await tryLock("a", { backend }), undefined);
    const tries: Promise<Lock | undefined>[] = [];
    await holder.unlock();
    for (let index = 0; index < 20; index++) tries.push(tryLock("a", { backend }));
    const overtook = (await Promise.all(tries)).filter(Boolean);
    await waiter;
    assert.equal(overtook.length, 0);
    assert.equal(served?.held, true);
  }),

  always("a wait that ends throws LockTimeout, no wait throws Locked", async ({ backend }) => {
    await getLock("a", { backend, lockedBy: "host-a" });
    const startedAt = performance.now();
    await assert.rejects(getLock("a", { backend, wait: 0.1 }), (error) => {
      assert(error instanceof LockTimeout && error instanceof Locked);
      assert.equal(error.code, "LOCK_TIMEOUT");
      assert.equal(error.lockName, "a");
      return true;
    });
    assert(performance.now() - startedAt >= 95);
    await assert.rejects(
      getLock("a", { backend }),
      (error) => !(error instanceof LockTimeout) && error instanceof Locked,
    );
    assert.equal(await tryLock("a", { backend, wait: 0.02 }), undefined);
  }),

  always("a waiter behind the head of the queue gives up in time", async ({ backend }) => {
    const holder = await getLock("a", { backend });
    const patient = later(getLock("a", { backend, wait: 20 }));
    await assert.rejects(getLock("a", { backend, wait: 0.05 }), LockTimeout);
    await holder.unlock();
    assert((await patient).held);
  }),

  withRows("a waiter acquires a lease that expires", async ({ backend, another }) => {
    const first = await getLock("a", { backend: await another(), expires: 0.2 });
    const next = await getLock("a", { backend, wait: 10 });
    assert(next.token > first.token);
    assert(next.createdAt.getTime() >= first.lockedUntil!.getTime());
  }),

  withRows("a waiter acquires a lock that is released by force", async ({ backend, another }) => {
    const other = await another();
    await getLock("a", { backend: other, expires: 0 });
    const waiter = later(getLock("a", { backend, wait: Infinity }));
    await turn();
    await unlock("a", { backend: other });
    assert((await waiter).held);
  }),

  always("a signal ends the wait with its reason", async ({ backend }) => {
    const reason = new Error("enough");
    const holder = await getLock("a", { backend });
    const controller = new AbortController();
    const waiter = later(getLock("a", { backend, wait: Infinity, signal: controller.signal }));
    const behind = later(getLock("a", { backend, wait: 20 }));
    await turn();
    controller.abort(reason);
    await assert.rejects(waiter, (error) => error === reason);
    await assert.rejects(getLock("b", { backend, signal: controller.signal }), (error) => error === reason);
    assert.equal(await isLocked("b", { backend }), false);
    await holder.unlock();
    assert((await behind).held);
  }),

  always("a grant to a caller that has given up is released", async ({ backend, another }) => {
    const other = await another();
    for (let round = 0; round < 5; round++) {
      const controller = new AbortController();
      const attempt = later(getLock("a", { backend, signal: controller.signal, wait: 5 }));
      controller.abort(new Error("enough"));
      await assert.rejects(attempt, /enough/);
      const next = await getLock("a", { backend: other, wait: 10 });
      await next.unlock();
    }
  }),

  always("64 waiters in two backends are all served, one at a time", async ({ backend, another }) => {
    const other = await another();
    let inside = 0;
    let served = 0;
    await Promise.all(Array.from({ length: 64 }, async (_, index) => {
      await using _lock = await getLock("a", { backend: index % 2 ? backend : other, wait: 60 });
      assert.equal(++inside, 1);
      await turn();
      inside--;
      served++;
    }));
    assert.equal(served, 64);
  }),
];
