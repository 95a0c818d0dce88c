import {
  type AcquireRequest,
  type Backend,
  getLock,
  getLocks,
  isLocked,
  listLocks,
  type Lock,
  Locked,
  LockTimeout,
  tryLock,
  unlock,
  UnsupportedError,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

/** A case of the backends that serve `holdAtLeast`. */
function withKeeping(name: string, run: Case["run"]): Case {
  return withRows(name, async (fixture, subject) => {
    if (fixture.backend.keeping) await run(fixture, subject);
  });
}

/** A request with a known owner. */
function requestOf(name: string, keep: number, limit = 1): AcquireRequest & { readonly keep: number } {
  const owner = crypto.randomUUID();
  return { name, owner, duration: 600e6, lockedBy: "host-a", lockProcess: null, metadata: null, limit, keep };
}

/** Checks that a released lock's name is held by nobody until `seconds` after it was acquired. */
async function assertKept(backend: Backend, lock: Lock, seconds: number): Promise<void> {
  const [record] = await listLocks({ backend, names: [lock.name] });
  assert.deepEqual([record.lockedBy, record.lockProcess, record.token], ["", null, lock.token]);
  assert(Math.abs(record.lockedUntil!.getTime() - lock.createdAt.getTime() - seconds * 1e3) <= 2);
}

/** `holdAtLeast`: a name that stays unavailable after the release. */
export const keeping: readonly Case[] = [
  withKeeping("a name that was released early stays unavailable, without a holder", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend, expires: 600, holdAtLeast: 60, lockedBy: "host-a", lockProcess: 7 });
    assert.equal(await lock.unlock(), true);
    assert.deepEqual([lock.held, lock.signal.aborted, await lock.unlock()], [false, false, false]);
    await assertKept(other, lock, 60);
    assert.deepEqual([await isLocked("a", { backend: other }), await isLocked(lock)], [true, false]);
    assert.equal(await tryLock("a", { backend }), undefined);
    await assert.rejects(getLock("a", { backend: other }), (error) => {
      assert(error instanceof Locked);
      assert.match(error.message, /^Cannot acquire lock "a": kept until 2\S+Z after its release \(holdAtLeast\)$/);
      return true;
    });
    assert.equal(await unlock("a", { backend: other }), true);
    await using next = await getLock("a", { backend: other });
    assert(next.token > lock.token);
  }),

  withKeeping(
    "a waiter gets a name once its least time is over, and a late release frees it at once",
    async (fixture) => {
      const { backend, another } = fixture;
      const other = await another();
      const lock = await getLock("a", { backend, holdAtLeast: 1 });
      const waiting = getLock("a", { backend: other, wait: 60, holdAtLeast: 0.01 });
      await lock.unlock();
      const next = await waiting;
      assert(next.createdAt.getTime() >= lock.createdAt.getTime() + 499);
      for (let age = 0; age <= 10e3;) { // by the server's clock alone
        const [{ now, createdAt }] = await backend.list({ names: ["a"] });
        age = now - createdAt;
      }
      assert.equal(await next.unlock(), true);
      assert.equal(await isLocked("a", { backend }), false);
    },
  ),

  withKeeping(
    "a lease lasts at least as long as its name is kept, also in hybrid mode",
    async ({ backend, another }) => {
      const other = await another();
      const lock = await getLock("a", { backend: other, expires: 1, holdAtLeast: 60 });
      assert(lock.expiresIn! > 50);
      assert.deepEqual([lock.session, lock.held], [null, true]);
      await other[Symbol.asyncDispose]();
      await assertKept(backend, lock, 60);
    },
  ),

  withKeeping("a repeated release is answered alike, and the old owner can do nothing", async ({ backend }) => {
    const request = requestOf("a", 60e6);
    const { name, owner, keep } = request;
    const [answer] = await backend.acquire([request]);
    assert(answer.granted);
    assert.deepEqual(await backend.release([{ name, owner, keep }]), [true]);
    assert.deepEqual(await backend.release([{ name, owner, keep }]), [true]);
    assert.deepEqual(await backend.release([{ name, owner }]), [false]);
    assert.deepEqual(await backend.renew([{ name, owner, from: "now", add: 900e6 }]), [undefined]);
    assert.equal((await backend.list({ names: ["a"] }))[0].lockedUntil, answer.row.createdAt + keep);
    assert.deepEqual(await backend.release([{ name, owner: answer.row.token }]), [true]);
    assert.deepEqual(await backend.release([{ name, owner, keep }]), [false]);
  }),

  withKeeping("one of several holders is kept alone", async ({ backend, another }) => {
    if (!backend.queueing) return;
    const other = await another();
    const first = await getLock("a", { backend, limit: 2, holdAtLeast: 60 });
    const second = await getLock("a", { backend: other, limit: 2, holdAtLeast: 60 });
    assert.equal(await second.unlock(), true);
    assert.equal(await tryLock("a", { backend, limit: 2 }), undefined);
    const records = await listLocks({ backend });
    assert.deepEqual(records.map(({ token, lockedBy }) => [token, lockedBy === ""]), [
      [first.token, false],
      [second.token, true],
    ]);
    assert.equal(await first.verify(), true);
    await assert.rejects(getLock("a", { backend, wait: 0.05 }), LockTimeout);
  }),

  withKeeping("a failed attempt at several names keeps none", async ({ backend, another }) => {
    await getLock("b", { backend: await another() });
    await assert.rejects(getLocks(["a", "b"], { backend, wait: 0.1, holdAtLeast: 60 }), LockTimeout);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  always("holdAtLeast is refused where a name cannot be kept, and without a number of seconds", async ({ backend }) => {
    for (const holdAtLeast of [-1, NaN, Infinity, "1", null] as number[]) {
      await assert.rejects(getLock("a", { backend, holdAtLeast }), /holdAtLeast/);
    }
    if (backend.keeping) return;
    await assert.rejects(getLock("a", { backend, holdAtLeast: 1 }), UnsupportedError);
    await using _lock = await getLock("a", { backend, holdAtLeast: 0 });
  }),
];
