import {
  type AcquireRequest,
  type Backend,
  getLock,
  getLocks,
  isLocked,
  listLocks,
  type Lock,
  Locked,
  LockFail,
  LockLost,
  LockNotFound,
  LockTimeout,
  renewLock,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { type Case, withKeeping } from "../case.ts";

/** Checks that a released lock's name is held by nobody until `seconds` after it was acquired. */
async function assertKept(backend: Backend, lock: Lock, seconds: number): Promise<void> {
  const [record] = await listLocks({ backend, names: [lock.name] });
  assert.deepEqual([record.lockedBy, record.lockProcess, record.token], ["", null, lock.token]);
  assert(Math.abs(record.lockedUntil!.getTime() - lock.createdAt.getTime() - seconds * 1e3) <= 2);
}

async function assertUnavailable(backend: Backend): Promise<void> {
  assert.equal(await tryLock("a", { backend }), undefined);
  await assert.rejects(getLock("a", { backend }), (error) => {
    assert(error instanceof Locked);
    assert.match(error.message, /^Cannot acquire lock "a": kept until 2\S+Z after its release \(holdAtLeast\)$/);
    return true;
  });
}

/** Checks that no client extends the time for which nobody holds a name, nor takes the name. */
async function assertNotRenewed(backend: Backend, lock: Lock): Promise<void> {
  const [record] = await listLocks({ backend, names: ["a"] });
  await assert.rejects(renewLock("a", { backend, expires: 900 }), LockNotFound);
  await assert.rejects(renewLock(record, { backend, expires: 900 }), LockLost);
  await assert.rejects(renewLock("a", { backend, create: true }), Locked);
  for (const renewals of [[null], [lock.token], [null, null]]) {
    const requests = renewals.map((owner, index) => ({ name: "ab"[index], owner, from: "now", add: 900e6 } as const));
    assert.equal((await backend.renew(requests))[0], undefined);
  }
  const { counts } = await setLock(["a", "b", "a"], { backend, expires: 900 });
  assert.deepEqual(counts, { created: 1, renewed: 0, skipCreate: 0, skipRenew: 2 }); // the name is locked, and not renewed
  await assert.rejects(setLock("a", { backend, fail: true, renew: false }), LockFail);
}

/** `holdAtLeast`: a name that stays unavailable after the release. */
export const keeping: readonly Case[] = [
  withKeeping("a name that was released early stays unavailable, held by nobody", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend: other, expires: 1, holdAtLeast: 60 }); // the lease is as long
    assert.deepEqual([lock.expiresIn! > 50, lock.session, lock.held], [true, null, true]);
    assert.equal(await lock.unlock(), true);
    assert.deepEqual([lock.held, lock.signal.aborted, await lock.unlock()], [false, false, false]);
    assert.deepEqual([await isLocked("a", { backend }), await isLocked(lock)], [true, false]);
    await assertUnavailable(backend);
    await assertNotRenewed(backend, lock);
    await assertKept(backend, lock, 60);
    assert.equal(await unlock("a", { backend }), true);
    const next = await getLock("a", { backend: other, holdAtLeast: 60 });
    assert(next.token > lock.token);
    await other[Symbol.asyncDispose](); // the client, and its session in hybrid mode
    await assertKept(backend, next, 60);
  }),

  withKeeping("a waiter gets a name once its least time is over, or it is released by force", async (fixture) => {
    const { backend, another } = fixture;
    const other = await another();
    for (const [holdAtLeast, forced] of [[60, true], [0.1, false]] as const) {
      let lock, waiting: Promise<Lock>;
      do { // again if the machine paused for so long that the release was late
        lock = await getLock("a", { backend, holdAtLeast });
        waiting = getLock("a", { backend: other, wait: 60 });
        while (backend.queueing && (await listLocks({ backend }))[0].waiters === 0);
        await lock.unlock();
      } while ((await listLocks({ backend }))[0]?.lockedBy !== "" && await (await waiting).unlock());
      if (forced) assert.equal(await unlock("a", { backend }), true);
      await using next = await waiting;
      const least = forced ? 0 : holdAtLeast * 1e3 - 1;
      assert(next.createdAt.getTime() >= lock.createdAt.getTime() + least);
    }
  }),

  withKeeping(
    "a repeated release is answered alike, and one after the least time frees the name",
    async ({ backend }) => {
      const [name, owner, keep] = ["a", crypto.randomUUID(), 60e6];
      const request = { name, duration: 600e6, lockedBy: "host-a", lockProcess: null, metadata: null, limit: 1 };
      const [answer] = await backend.acquire([{ ...request, owner, keep } satisfies AcquireRequest]);
      assert(answer.granted);
      assert.deepEqual(await backend.release([{ name, owner, keep }]), [true]);
      assert.deepEqual(await backend.release([{ name, owner, keep }]), [true]);
      assert.deepEqual(await backend.release([{ name, owner }]), [false]);
      assert.deepEqual(await backend.renew([{ name, owner, from: "now", add: 900e6 }]), [undefined]);
      assert.equal((await backend.list({ names: [name] }))[0].lockedUntil, answer.row.createdAt + keep);
      assert.deepEqual(await backend.release([{ name, owner: answer.row.token }]), [true]);
      assert.deepEqual(await backend.release([{ name, owner, keep }]), [false]);
      const lock = await getLock("a", { backend, holdAtLeast: 0.005 });
      for (let age = 0; age <= 5e3;) { // by the server's clock alone
        const [{ now, createdAt }] = await backend.list({ names: ["a"] });
        age = now - createdAt;
      }
      assert.equal(await lock.unlock(), true);
      assert.equal(await isLocked("a", { backend }), false);
    },
  ),

  withKeeping("each of several holders is kept alone, and steal ends that", async ({ backend, another }) => {
    const other = await another();
    await using _held = await getLock("c", { backend: other });
    await assert.rejects(getLocks(["b", "c"], { backend, wait: 0.01, holdAtLeast: 60 }), LockTimeout);
    assert.equal(await isLocked("b", { backend }), false); // a failed attempt keeps none
    if (!backend.queueing) return;
    const first = await getLock("a", { backend, limit: 2, holdAtLeast: 60 });
    const second = await getLock("a", { backend: other, limit: 2, holdAtLeast: 60 });
    assert.equal(await second.unlock(), true);
    assert.equal(await tryLock("a", { backend, limit: 2 }), undefined);
    await assert.rejects(renewLock((await listLocks({ backend, names: ["a"] }))[1], { backend }), LockLost);
    await renewLock("a", { backend, expires: 900 });
    const [held, kept] = await listLocks({ backend, names: ["a"] });
    assert.deepEqual([held.token, kept.token, kept.lockedBy], [first.token, second.token, ""]);
    assert(held.expiresIn! > 800 && kept.expiresIn! <= 60);
    const third = await getLock("a", { backend: other, steal: true, holdAtLeast: 60 });
    assert.deepEqual([await first.unlock(), await third.unlock()], [false, true]);
    await using fourth = await getLock("a", { backend, steal: true });
    assert.deepEqual((await listLocks({ backend, names: ["a"] })).map(({ token }) => token), [fourth.token]);
  }),
];
