import { getLock, isLocked, Locked, tryLock, unlock, UnsupportedError } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

/** Taking and freeing a lock. */
export const acquiring: readonly Case[] = [
  always("getLock acquires a name once (test_getlock_clean)", async ({ backend }) => {
    const lock = await getLock("test_getlock", { backend });
    await assert.rejects(getLock("test_getlock", { backend }), Locked);
    assert.equal(await lock.unlock(), true);
  }),

  always("a released name can be acquired again (test_getlock_unlock)", async ({ backend }) => {
    const first = await getLock("test_unlock", { backend });
    assert.equal(await unlock(first), true);
    const second = await getLock("test_unlock", { backend });
    assert.equal(await unlock(second), true);
  }),

  always("isLocked tells held names from free ones (test_is_locked)", async ({ backend, another }) => {
    const lock = await getLock("test_is_locked", { backend });
    assert.equal(await isLocked("test_is_locked", { backend }), true);
    assert.equal(await isLocked("test_is_locked", { backend: await another() }), true);
    assert.equal(await isLocked("other", { backend }), false);
    assert.equal(await isLocked(lock), true);
    await lock.unlock();
    assert.equal(await isLocked("test_is_locked", { backend }), false);
  }),

  always("two backends on one database exclude each other", async ({ backend, another }) => {
    const other = await another();
    const lock = await getLock("a", { backend });
    assert.equal(await tryLock("a", { backend: other }), undefined);
    await lock.unlock();
    const theirs = await getLock("a", { backend: other });
    assert.equal(await tryLock("a", { backend }), undefined);
    await theirs.unlock();
  }),

  always("of many concurrent attempts exactly one acquires the name", async ({ backend, another }) => {
    const others = [backend, await another(), await another()];
    for (let round = 0; round < 5; round++) {
      const tries = Array.from({ length: 24 }, (_, index) => tryLock("race", { backend: others[index % 3] }));
      const locks = (await Promise.all(tries)).filter((lock) => lock !== undefined);
      assert.equal(locks.length, 1);
      await locks[0].unlock();
    }
  }),

  always("tokens increase with every acquisition of a name", async ({ backend, another }) => {
    const other = await another();
    let last = 0n;
    for (let round = 0; round < 10; round++) {
      const lock = await getLock("a", { backend: round % 2 ? backend : other });
      assert(lock.token > last, `${lock.token} after ${last}`);
      last = lock.token;
      await lock.unlock();
    }
  }),

  withRows("tokens increase across expiry, force, clean-up and a fresh backend", async ({ backend, another }) => {
    const tokens: bigint[] = [];
    const take = async (expires: number) => {
      const lock = await getLock("a", { backend: await another(), expires, wait: 10 });
      tokens.push(lock.token);
      return lock;
    };
    await take(0.02);
    await take(600);
    await unlock("a", { backend });
    await take(0.02);
    const last = await take(600);
    await last.unlock();
    await backend.clean("expired");
    await take(600);
    await backend.clean("all");
    await take(600);
    assert.deepEqual(tokens, tokens.toSorted((a, b) => Number(a - b)));
    assert.equal(new Set(tokens).size, tokens.length);
  }),

  withRows("Locked names the holder", async ({ backend }) => {
    await getLock("a", { backend, lockedBy: "host-a", lockProcess: 71 });
    await assert.rejects(getLock("a", { backend }), (error) => {
      assert(error instanceof Locked);
      assert.equal(error.name, "Locked");
      assert.equal(error.code, "LOCKED");
      assert.equal(error.lockName, "a");
      assert.equal(error.holder?.lockedBy, "host-a");
      assert.match(error.message, /^Cannot acquire lock "a": held by "host-a" \(pid 71\) until 20\d\d-.+[^.]$/);
      return true;
    });
  }),

  withRows("a lock shows its fields in the database", async ({ backend }) => {
    const before = Date.now();
    const lock = await getLock("a", { backend, expires: 60, lockProcess: 7, metadata: { job: ["mail", 1, null] } });
    assert.equal(lock.name, "a");
    assert.notEqual(lock.lockedBy, "");
    assert.equal(lock.lockProcess, 7);
    assert.deepEqual(lock.metadata, { job: ["mail", 1, null] });
    assert.equal(typeof lock.token, "bigint");
    assert(lock.createdAt.getTime() >= before - 1_000);
    assert.equal(lock.updatedAt.getTime(), lock.createdAt.getTime());
    assert(Math.abs(lock.lockedUntil!.getTime() - lock.createdAt.getTime() - 60_000) <= 1);
    assert.equal(lock.expired, false);
    const [left, seconds] = [lock.expiresIn!, lock.expiresSeconds!];
    assert(left > 50 && left <= 60);
    assert(Number.isInteger(seconds) && seconds <= left && seconds > lock.expiresIn! - 1);
    assert.match(
      String(lock),
      /^<Lock name='a' locked_by='.+' locked_until='\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}\+00:00'>$/,
    );
    const json = JSON.parse(JSON.stringify(lock));
    assert.equal(json.token, String(lock.token));
    assert.equal(json.lockedUntil, lock.lockedUntil!.toISOString());
  }),

  withRows("an expired lock can be acquired (test_lock_expiry)", async ({ backend, another }) => {
    const first = await getLock("a", { backend, expires: 0.05 });
    const second = await getLock("a", { backend: await another(), wait: 10 });
    assert.equal(first.held, false);
    assert(second.token > first.token);
  }),

  withRows("a lock without expiry stays (test_lock_no_expiry, test_lock_zero_expiry)", async ({ backend }) => {
    for (const expires of [null, 0, Infinity]) {
      const lock = await getLock(`for ever ${expires}`, { backend, expires });
      assert.equal(lock.lockedUntil, null);
      assert.equal(lock.expiresIn, null);
      assert.equal(lock.expiresSeconds, null);
      assert.equal(lock.expired, false);
      assert.match(String(lock), /locked_until='None'>$/);
      await backend.clean("expired");
      assert.equal(await isLocked(lock), true);
      assert.equal(lock.held, true);
    }
  }),

  withRows("a repeated request is granted the lock that it already has", async ({ backend }) => {
    const request = {
      name: "a",
      owner: "0f1e2d3c",
      duration: 60e6,
      lockedBy: "x",
      lockProcess: null,
      metadata: null,
      limit: 1,
    };
    const [first] = await backend.acquire([request]);
    const [again] = await backend.acquire([request]);
    assert(first.granted && again.granted);
    assert.equal(again.row.token, first.row.token);
    assert.deepEqual(
      await backend.acquire([request, { ...request, name: "b" }], { allOrNothing: true }).then((answers) =>
        answers.map(({ granted }) => granted)
      ),
      [true, true],
    );
  }),

  withRows("unlock by name releases the lock of any holder", async ({ backend, another }) => {
    const lock = await getLock("a", { backend });
    assert.equal(await unlock("a", { backend: await another() }), true);
    assert.equal(await unlock("a", { backend }), false);
    assert.equal(await lock.unlock(), false);
  }),

  withRows("a stale handle neither releases nor renews the next holder's lock", async ({ backend, another }) => {
    const stale = await getLock("a", { backend, expires: 0.05 });
    const theirs = await getLock("a", { backend: await another(), wait: 10, expires: 60 });
    const until = theirs.lockedUntil!.getTime();
    assert.equal(await stale.unlock(), false);
    await assert.rejects(stale.renew({ expires: 900 }), { name: "LockLost" });
    assert.equal(
      await backend.renew([{ name: "a", owner: "somebody", from: "now", add: 1e9 }]).then(([row]) => row),
      undefined,
    );
    assert.deepEqual(await backend.release([{ name: "a", owner: "somebody" }]), [false]);
    await theirs.refresh();
    assert.equal(theirs.lockedUntil!.getTime(), until);
    assert.equal(await theirs.verify(), true);
  }),

  always("unlock is idempotent, alone and at the same time", async ({ backend }) => {
    const lock = await getLock("a", { backend });
    const answers = await Promise.all([lock.unlock(), lock.unlock()]);
    assert(answers.includes(true));
    assert.equal(await lock.unlock(), false);
    assert.equal(lock.held, false);
    assert.equal(lock.signal.aborted, false);
    await lock[Symbol.asyncDispose]();
  }),

  always("await using releases, also when the body throws", async ({ backend }) => {
    await assert.rejects(async () => {
      await using lock = await getLock("a", { backend });
      assert(lock.held);
      throw new Error("the body's own");
    }, /the body's own/);
    assert.equal(await isLocked("a", { backend }), false);
  }),

  always("what the mode does not support is refused", async ({ backend }, { mode }) => {
    for (const options of backend.queueing ? [] : [{ shared: true }, { limit: 2 }, { steal: true }]) {
      await assert.rejects(tryLock("a", { backend, wait: 60, ...options }), UnsupportedError);
    }
    if (mode !== "session") return;
    await assert.rejects(getLock("a", { backend, expires: 5 }), UnsupportedError);
    await assert.rejects(getLock("a", { backend, metadata: 1 }), UnsupportedError);
    await assert.rejects(unlock("a", { backend }), UnsupportedError);
    const lock = await getLock("a", { backend, expires: null });
    await assert.rejects(lock.renew(), UnsupportedError);
    assert.equal(lock.lockedUntil, null);
    await lock.unlock();
  }),
];
