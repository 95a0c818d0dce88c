import {
  adoptLock,
  type Backend,
  getLock,
  isLocked,
  listLocks,
  type Lock,
  LockLost,
  LockNotFound,
  tryLock,
  unlock,
  UnsupportedError,
  withLock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withAdoption } from "../case.ts";

/** Checks that a detached lock's handle has no right any more, and tells the text to no reader of a log. */
async function assertEnded(lock: Lock, text: string): Promise<void> {
  assert.equal(lock.held, false);
  assert(lock.signal.reason instanceof LockLost);
  assert.match(String(lock.signal.reason), /Cannot keep lock "a": it was detached$/);
  assert.deepEqual([await lock.unlock(), await lock.verify()], [false, false]);
  await assert.rejects(lock.renew(), LockLost);
  await assert.rejects(lock.refresh(), LockLost);
  assert.throws(() => lock.detach(), LockLost);
  const [, secret] = text.split(".");
  for (const shown of [JSON.stringify(lock), String(lock), JSON.stringify(lock.signal.reason)]) {
    assert(!shown.includes(secret));
  }
}

async function adoptAgain(text: string, backend: Backend): Promise<void> {
  await assert.rejects(adoptLock(text, { backend }), (error) => {
    assert(error instanceof LockNotFound && !(error instanceof LockLost));
    assert.equal(
      error.message,
      'Cannot adopt lock "a": it was adopted before, was released, or has expired',
    );
    return true;
  });
}

/** `detach` and `adoptLock`: a lock that goes from one process to another. */
export const adopting: readonly Case[] = [
  withAdoption("a detached lock is adopted once, with its token, and its old handle has ended", async (fixture) => {
    const { backend, another } = fixture;
    const other = await another();
    const holder = { lockedBy: "host-a", lockProcess: 7, metadata: { report: 7 } };
    const lock = await getLock("a", { backend, expires: 60, ...holder });
    const { signal } = lock;
    const text = lock.detach();
    assert.match(text, /^[\w.!~*'()%-]+$/);
    assert.equal(signal.aborted, true);
    await assertEnded(lock, text);
    assert.equal(await tryLock("a", { backend }), undefined); // it is still held
    const adopted = await adoptLock(text, { backend: other, expires: 1, lockedBy: "host-b" });
    assert.deepEqual([adopted.token, adopted.createdAt, adopted.metadata], [lock.token, lock.createdAt, { report: 7 }]);
    assert.deepEqual([adopted.lockedBy, adopted.lockProcess], ["host-b", null]);
    assert(adopted.expiresIn! > 50); // never shortened
    await adoptAgain(text, backend);
    assert.deepEqual([await lock.unlock(), await adopted.verify()], [false, true]);
    assert.equal(await backend.release([{ name: "a", owner: text.split(".")[1] }]).then(([was]) => was), false);
    await using last = await adoptLock(adopted.detach(), { backend, expires: 900, autoRenew: true });
    assert(last.expiresIn! > 800);
    assert.equal(await last.unlock(), true);
    await adoptAgain(text, backend);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  withAdoption("of concurrent adoptions one succeeds, and the least time stays", async ({ backend, another }) => {
    const other = await another();
    const name = "a.b/\u{1f512}\u00e4 '%";
    const lock = await getLock(name, { backend, expires: 0, holdAtLeast: backend.keeping ? 60 : 0 });
    const text = await withLock("body", { backend }, () => lock.detach());
    const attempts = [backend, other, backend, other].map((backend) => adoptLock(text, { backend }));
    const settled = await Promise.allSettled(attempts);
    const adopted = settled.flatMap((one) => one.status === "fulfilled" ? [one.value] : []);
    assert.deepEqual(adopted.map(({ name, lockedUntil }) => [name, lockedUntil]), [[name, null]]);
    for (const one of settled) assert(one.status === "fulfilled" || one.reason instanceof LockNotFound);
    assert.equal(await withLock("body", { backend }, (lock) => lock.detach().length > 0), true); // no loss
    assert.equal(await isLocked("body", { backend }), true);
    assert.equal(await adopted[0].unlock(), true);
    assert.equal(await isLocked(name, { backend }), backend.keeping ?? false);
    await unlock(name, { backend });
    const third = await another();
    const left = (await getLock("a", { backend: third })).detach();
    await third[Symbol.asyncDispose](); // releases what it holds, no more
    assert.equal(await (await adoptLock(left, { backend })).unlock(), true);
    const freed = await getLock("a", { backend });
    assert.equal(await unlock("a", { backend: other }), true);
    await adoptAgain(freed.detach(), backend);
    const request = { name: "a", owner: "expired", duration: 1, lockedBy: "host-a", lockProcess: null, metadata: null };
    assert((await backend.acquire([{ ...request, limit: 1 }]))[0].granted);
    while (await isLocked("a", { backend }));
    await adoptAgain("lockmgr1.expired..a", backend);
  }),

  withAdoption("one of several holders is adopted alone, and the waiters keep their places", async (fixture) => {
    const { backend, another } = fixture;
    if (!backend.queueing) return;
    const other = await another();
    for (const index of [0, 1]) {
      const both = [await getLock("a", { backend, limit: 2 }), await getLock("a", { backend, limit: 2 })];
      const waiting = getLock("a", { backend: other, limit: 2, wait: 60 });
      while ((await listLocks({ backend }))[0].waiters === 0);
      const adopted = await adoptLock(both[index].detach(), { backend: other, lockedBy: "host-b" });
      const records = await listLocks({ backend });
      assert.deepEqual(records.map(({ token }) => token), both.map(({ token }) => token));
      assert.equal(records.findIndex(({ lockedBy }) => lockedBy === "host-b"), index);
      assert.equal(adopted.waiters, 1);
      assert.equal(await both[1 - index].verify(), true);
      assert.equal(await adopted.unlock(), true);
      await using next = await waiting;
      assert.equal(await both[1 - index].unlock(), true);
      assert.equal(next.held, true);
    }
  }),

  always("a lock is detached and adopted in lease mode only, and by its own text only", async ({ backend }) => {
    const texts = [
      "",
      "lockmgr1.secret",
      "lockmgr1.secret.x.a",
      "lockmgr1.secret..%ff",
      `lockmgr1.secret..${"a".repeat(256)}`,
    ];
    for (const text of [...texts, 7 as unknown as string]) {
      await assert.rejects(adoptLock(text, { backend }), (error: Error) => {
        return error instanceof TypeError && !error.message.includes("secret");
      });
    }
    await assert.rejects(adoptLock("lockmgr1.secret..a", { backend, expires: -1 }), RangeError);
    if (backend.mode === "lease" && backend.adopt) return;
    const lock = await getLock("a", { backend });
    const refused = (error: unknown) =>
      error instanceof UnsupportedError && /want "lease"|cannot change/.test(error.message);
    assert.throws(() => lock.detach(), refused);
    await assert.rejects(adoptLock("lockmgr1.secret..a", { backend }), refused);
    assert.equal(await lock.unlock(), true);
  }),
];
