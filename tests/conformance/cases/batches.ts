import { type Backend, getLock, listLocks, type Lock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, withRows } from "../case.ts";

/** The names of a batch, with some that only their bytes distinguish. */
const NAMES = [
  ...Array.from({ length: 30 }, (_, index) => `job ${index}`),
  "Job 1",
  "job 1 ",
  "it's",
  'a "b" \\',
  "ñandú",
  "🔒",
  "\uffff",
  "a_b%",
];

/** Tries to acquire all names at once. */
function allTry(backend: Backend): Promise<(Lock | undefined)[]> {
  return Promise.all(NAMES.map((name) => tryLock(name, { backend })));
}

/** Releases all locks at once. */
function allRelease(locks: readonly (Lock | undefined)[]): Promise<(boolean | undefined)[]> {
  return Promise.all(locks.map((lock) => lock?.unlock()));
}

/** Concurrent requests, which are batched. */
export const batches: readonly Case[] = [
  always("a batch acquires the free names, however many others are held", async ({ backend, another }) => {
    const other = await another();
    const tokens = new Map<string, bigint>();
    for (let round = 0; round < 4; round++) {
      // none of them in the first round, then ever more
      const taken = await Promise.all(NAMES.slice(0, round * 5).map((name) => getLock(name, { backend: other })));
      const locks = await allTry(backend);
      locks.forEach((lock, index) => assert.equal(lock === undefined, index < taken.length, NAMES[index]));
      for (const lock of [...taken, ...locks]) {
        if (lock === undefined) continue;
        assert(lock.token > (tokens.get(lock.name) ?? 0n), `token of ${lock.name} did not increase`);
        tokens.set(lock.name, lock.token);
        assert(await lock.verify(), lock.name);
      }
      assert((await allRelease(locks)).every((released) => released !== false));
      assert((await allRelease(taken)).every(Boolean));
    }
  }),
  always("of two batches exactly one acquires each name", async ({ backend, another }) => {
    const clients = [backend, await another()];
    for (let round = 0; round < 5; round++) {
      const [mine, theirs] = await Promise.all(clients.map(allTry));
      NAMES.forEach((name, index) => assert(!mine[index] !== !theirs[index], `${name} is not held once`));
      assert((await allRelease([...mine, ...theirs])).every((released) => released !== false));
    }
  }),
  always("a batch of releases answers false for a lock that is gone", async ({ backend }) => {
    const locks = await allTry(backend);
    await locks[3]!.unlock();
    const again = await getLock(NAMES[3], { backend });
    const released = await allRelease(locks);
    released.forEach((answer, index) => assert.equal(answer, index !== 3, NAMES[index]));
    assert(await again.verify());
  }),
  withRows("the locks of a batch show what the database has", async ({ backend }) => {
    const take = (name: string, index: number) =>
      getLock(name, {
        backend,
        expires: 60 + index,
        lockedBy: `host ${index}`,
        lockProcess: index,
        metadata: { index },
      });
    for (let round = 0; round < 2; round++) {
      const locks = await Promise.all(NAMES.map(take));
      const rows = new Map((await listLocks({ backend })).map((row) => [row.name, row]));
      for (const lock of locks) {
        const { expired: _, expiresIn: _in, expiresSeconds: _seconds, age: _age, ...told } = lock.toJSON();
        const { expired: _e, expiresIn: _i, expiresSeconds: _s, age: _a, ...kept } = rows.get(lock.name)!.toJSON();
        assert.deepEqual(told, kept);
      }
      await allRelease(locks);
    }
  }),
  withRows("callers of a batch with different options each get their own", async ({ backend }) => {
    for (let round = 0; round < 3; round++) {
      const data = (index: number) => index % 4 ? { index, text: `{"NULL", \\} it's ñandú ${index}` } : null;
      const locks = await Promise.all(NAMES.map((name, index) =>
        getLock(name, {
          backend,
          expires: index % 3 ? 60 + index : 0,
          lockedBy: index % 2 ? "host's ñ" : `host ${index}`,
          ...(index % 5 ? { lockProcess: index } : {}),
          ...(index % 4 ? { metadata: data(index) } : {}),
        })
      ));
      const rows = new Map((await listLocks({ backend })).map((record) => [record.name, record]));
      for (const [index, lock] of locks.entries()) {
        for (const told of [lock, rows.get(lock.name)!]) {
          assert.deepEqual(told.metadata, data(index));
          assert.equal(told.lockedBy, index % 2 ? "host's ñ" : `host ${index}`);
          assert.equal(told.lockProcess, index % 5 ? index : null);
          const lasts = told.lockedUntil === null ? null : told.lockedUntil.getTime() - told.createdAt.getTime();
          assert.equal(lasts, index % 3 ? (60 + index) * 1e3 : null);
          assert.equal(told.token, lock.token);
        }
      }
      assert((await allRelease(locks)).every(Boolean));
    }
  }),
  withRows("a batch acquires leases that have expired", async ({ backend }) => {
    const first = await Promise.all(NAMES.map((name) => getLock(name, { backend, expires: 0.05 })));
    const second = await Promise.all(NAMES.map((name) => getLock(name, { backend, wait: 20 })));
    second.forEach((lock, index) => assert(lock.token > first[index].token, lock.name));
    assert((await allRelease(first)).every((released) => released === false));
    assert((await allRelease(second)).every(Boolean));
  }),
];
