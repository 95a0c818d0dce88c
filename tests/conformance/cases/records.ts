import {
  getLock,
  isLocked,
  listLocks,
  Lock,
  Locked,
  LockLost,
  type LockRecord,
  renewLock,
  unlock,
  UnsupportedError,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, always, type Case, later, withQueue, withRows } from "../case.ts";

/** Records as arguments: they mean one acquisition, never the next holder's. */
export const records: readonly Case[] = [
  always("unlock by record frees that acquisition only", async ({ backend, another }, { mode }) => {
    const first = await getLock("a", { backend });
    const [stale] = await listLocks({ backend });
    assert.equal(await unlock(stale, { backend }), true);
    assert.equal(await unlock(stale, { backend }), false);
    assert.equal(await first.unlock(), false);
    const second = await getLock("a", { backend });
    assert(second.token > stale.token);
    assert.equal(await unlock(stale, { backend }), false);
    assert.equal(await isLocked(stale, { backend }), false);
    assert.equal(await isLocked(first), false);
    assert.equal(await second.verify(), true);
    const { name, token } = second;
    assert.equal(await isLocked({ name, token }, { backend }), true);
    for (const wrong of [{ name: "a" }, { name: "a", token: "7" }, { token: 7n }, null, 7] as unknown as LockRecord[]) {
      await assert.rejects(unlock(wrong, { backend }), TypeError);
      await assert.rejects(isLocked(wrong, { backend }), TypeError);
      await assert.rejects(renewLock(wrong, { backend }), TypeError);
    }
    assert.equal(await unlock({ name, token }, { backend }), true);
    assert.equal(await isLocked("a", { backend }), false);
    if (mode !== "session") return;
    const other = await another();
    const lock = await getLock("a", { backend });
    const [record] = await listLocks({ backend });
    await assert.rejects(unlock(record, { backend: other }), UnsupportedError);
    await assert.rejects(isLocked(record, { backend: other }), UnsupportedError);
    await assert.rejects(renewLock(record, { backend }), UnsupportedError);
    assert.equal(await lock.verify(), true);
    await lock.unlock();
    assert.equal(await unlock(record, { backend: other }), false);
    assert.equal(await isLocked(record, { backend: other }), false);
  }),

  always("a record frees a lock for the waiters behind it, and its handle hears of it", async (fixture) => {
    const { backend, another } = fixture;
    const lock = await getLock("a", { backend });
    const { signal } = lock;
    const waiting = later(getLock("a", { backend: await another(), wait: 30 }));
    const [record] = await listLocks({ backend });
    assert.equal(await unlock(record, { backend }), true);
    assert(await aborted(signal) instanceof LockLost);
    assert.equal(lock.held, false);
    assert.equal(await lock.verify(), false);
    assert.equal((await waiting).held, true);
  }),

  withRows("an operator frees what was listed, not the next holder's lock", async ({ backend, another }) => {
    const operator = await another();
    const stale = await getLock("a", { backend });
    await getLock("b", { backend });
    const listed = await listLocks({ backend: operator });
    await stale.unlock();
    const next = await getLock("a", { backend, expires: null });
    const freed = await Promise.all(listed.map((record) => unlock(record, { backend: operator })));
    assert.deepEqual(freed, [false, true]);
    assert.equal(await next.verify(), true);
    const { holder } = await getLock("a", { backend: operator }).catch((error) => error as Locked) as Locked;
    assert.equal(await isLocked(holder!, { backend: operator }), true);
    assert.equal(await unlock(holder!, { backend: operator }), true);
    assert.equal(await next.verify(), false);
  }),

  withQueue("a record of one of several holders means that holder only", async ({ backend, another }) => {
    const operator = await another();
    for (const kind of [{ shared: true }, { limit: 3 }]) {
      const name = Object.keys(kind)[0];
      const held: Lock[] = [];
      for (let count = 0; count < 3; count++) held.push(await getLock(name, { backend, expires: 60, ...kind }));
      const records = await listLocks({ backend: operator, names: [name] });
      const each = <T>(ask: (record: LockRecord) => Promise<T>) => Promise.all(records.map(ask));
      assert.deepEqual(records.map(({ token }) => token), held.map(({ token }) => token));
      assert.equal((await renewLock(records[1], { backend: operator, expires: 120 })).token, held[1].token);
      const renewed = (await listLocks({ backend })).map(({ expiresIn }) => expiresIn! > 100);
      assert.deepEqual(renewed, [false, true, false]);
      assert.equal(await unlock(records[1], { backend: operator }), true);
      assert.equal(await unlock(records[1], { backend: operator }), false);
      assert.deepEqual(await each((record) => isLocked(record, { backend: operator })), [true, false, true]);
      assert.deepEqual(await Promise.all(held.map((lock) => lock.verify())), [true, false, true]);
      await assert.rejects(renewLock(records[1], { backend: operator }), LockLost);
      await assert.rejects(renewLock(records[1], { backend: operator, create: true }), Locked);
      const waiting = later(getLock(name, { backend: operator, wait: 30 }));
      assert.deepEqual(await each((record) => unlock(record, { backend: operator })), [true, false, true]);
      const next = await waiting;
      assert.deepEqual(await each((record) => unlock(record, { backend })), [false, false, false]);
      assert.equal(await next.unlock(), true);
    }
  }),

  withRows("renewLock by record extends that acquisition only", async ({ backend, another }) => {
    const operator = await another();
    const first = await getLock("a", { backend, expires: 60 });
    const [stale] = await listLocks({ backend: operator });
    const renewed: LockRecord = await renewLock(stale, { backend: operator, expires: 120 });
    assert.equal(renewed.token, first.token);
    assert(renewed.expiresIn! > 100 && !(renewed instanceof Lock));
    const added = await renewLock(renewed, { backend: operator, expires: 60, addTime: true });
    assert.equal(added.lockedUntil!.getTime() - renewed.lockedUntil!.getTime(), 60_000);
    await first.refresh();
    await first.unlock();
    await assert.rejects(renewLock(stale, { backend: operator }), LockLost);
    const next = await getLock("a", { backend, expires: 60 });
    const until = next.lockedUntil!.getTime();
    await assert.rejects(renewLock(stale, { backend: operator, expires: 300 }), LockLost);
    await assert.rejects(renewLock(stale, { backend: operator, create: true }), Locked);
    assert.equal((await next.refresh()).lockedUntil!.getTime(), until);
    await next.unlock();
    const fresh = await renewLock(stale, { backend: operator, create: true });
    assert(fresh instanceof Lock && fresh.token > next.token);
  }),

  withRows("the seam takes tokens in batches, beside owners", async ({ backend }) => {
    const locks = await Promise.all(["a", "b", "c", "d"].map((name) => getLock(name, { backend, expires: 60 })));
    const [a, b, c] = locks.map(({ name, token }) => ({ name, owner: token }));
    const stale = { ...b, owner: locks[1].token - 1n };
    const more = { from: "now", add: 120e6 } as const;
    const d = { name: "d", owner: null };
    const rows = await backend.renew([a, stale, c, d].map((one) => ({ ...one, ...more })));
    assert.deepEqual(rows.map((row) => row?.token), [locks[0].token, undefined, locks[2].token, locks[3].token]);
    const none = { name: "c", owner: "an owner without a lock" };
    assert.deepEqual(await backend.release([a, stale, none, d]), [true, false, false, true]);
    assert.deepEqual((await backend.list({})).map(({ name }) => name), ["b", "c"]);
    assert.deepEqual(await backend.release([c, { name: "b", owner: null }]), [true, true]);
    assert.deepEqual(await backend.release([a, b]), [false, false]); // released rows keep their tokens
  }),

  always("listLocks lists the named locks only, expired ones if asked", async (fixture, { mode, expiredRows }) => {
    const { backend } = fixture;
    for (const name of ["job:c", "job:b", "other", "job:a"]) await getLock(name, { backend });
    const names = async (names: string[], prefix?: string) =>
      (await listLocks({ backend, names, prefix })).map(({ name }) => name);
    assert.deepEqual(await names(["other", "job:b", "missing", "other"]), ["job:b", "other"]);
    assert.deepEqual(await names(["job:a", "other"], "job:"), ["job:a"]);
    assert.deepEqual(await names([]), []);
    for (const wrong of ["job:a", 7, null, [7], [""]] as unknown as string[][]) {
      await assert.rejects(listLocks({ backend, names: wrong }), (error) => {
        return error instanceof TypeError || error instanceof RangeError;
      });
    }
    if (mode === "session") return;
    await getLock("old", { backend, expires: 0.02 });
    await (await getLock("released", { backend })).unlock();
    while (await isLocked("old", { backend })) await new Promise((resolve) => setTimeout(resolve, 5));
    const options = { backend, names: ["old", "released"] };
    assert.deepEqual(await listLocks(options), []);
    assert.deepEqual(
      (await listLocks({ ...options, includeExpired: true })).map(({ name }) => name),
      expiredRows ? ["old"] : [],
    );
  }),
];
