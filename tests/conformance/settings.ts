/**
 * One scenario that is run under settings that change what statements mean: every verb once, against a second client
 * whose settings are the defaults.
 *
 * @module
 */
import {
  type Backend,
  getLock,
  type GuardClient,
  isLocked,
  listLocks,
  LockLost,
  renewLock,
  resetLocks,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "./case.ts";

/** A transaction of the caller's, under the same settings. */
export type InTransaction = (body: (client: GuardClient) => Promise<void>) => Promise<void>;

/** More names than any small limit that a setting may have. */
const NAMES = Array.from({ length: 12 }, (_, index) => `it's "${index}" \\ ü`);

/** Acquires, is refused, renews, guards, lists, sets, waits, releases and resets. */
export async function everyVerb(backend: Backend, other: Backend, inTransaction?: InTransaction): Promise<void> {
  await permanentLock(backend, other);
  await expiringLock(backend, other, inTransaction);
  await manyLocks(backend, other);
  await waitingFor(backend, other);
  assert.equal(await resetLocks({ backend }), 0);
}

/** A lock without expiry is held until it is released, under every setting. */
async function permanentLock(backend: Backend, other: Backend): Promise<void> {
  const lock = await getLock("permanent", { backend, expires: null, metadata: { text: `'"\\ü` }, lockedBy: "a@b" });
  assert.equal(await lock.verify(), true);
  assert.equal(await isLocked("permanent", { backend }), true);
  assert.equal(await isLocked("permanent", { backend: other }), true);
  assert.equal(await tryLock("permanent", { backend }), undefined);
  assert.equal(await tryLock("permanent", { backend: other }), undefined);
  const [seen] = await listLocks({ backend });
  assert.deepEqual([seen.name, seen.lockedBy, seen.lockedUntil], ["permanent", "a@b", null]);
  assert.deepEqual(seen.metadata, { text: `'"\\ü` });
  assert.equal(await lock.unlock(), true);
  assert.equal(await isLocked("permanent", { backend: other }), false);
}

/** Tokens increase, a renewal extends, a guard tells a live lock from one that is gone. */
async function expiringLock(backend: Backend, other: Backend, inTransaction?: InTransaction): Promise<void> {
  const first = await getLock("expiring", { backend: other, expires: 60 });
  assert.equal(await tryLock("expiring", { backend }), undefined);
  assert.equal(await first.unlock(), true);
  const lock = await getLock("expiring", { backend, expires: 60 });
  assert(lock.token > first.token, `${lock.token} comes after ${first.token}`);
  const before = lock.lockedUntil!.getTime();
  await lock.renew({ expires: 120 });
  const [row] = await listLocks({ backend: other, prefix: "exp" });
  assert(row.lockedUntil!.getTime() > before + 30_000, "renewed");
  assert(row.expiresIn! > 100 && row.expiresIn! <= 120, `${row.expiresIn} s are left of 120`);
  await renewLock("expiring", { backend, expires: 240 });
  assert(inTransaction === undefined || await lock.verify());
  await inTransaction?.((client) => lock.guard(client));
  assert.equal(await unlock("expiring", { backend }), true);
  await inTransaction?.((client) => assert.rejects(lock.guard(client), LockLost));
}

/** Batches are whole, and so is every list. */
async function manyLocks(backend: Backend, other: Backend): Promise<void> {
  const { counts } = await setLock(NAMES, { backend, expires: 60 });
  assert.equal(counts.created, NAMES.length);
  const listed = (await listLocks({ backend })).map(({ name }) => name);
  assert.deepEqual(listed.sort(), [...NAMES].sort());
  assert.equal((await setLock(NAMES, { backend, expires: 90 })).counts.renewed, NAMES.length);
  assert.equal((await setLock(NAMES, { backend: other, renew: false })).counts.skipRenew, NAMES.length);
  assert.equal((await Promise.all(NAMES.map((name) => tryLock(name, { backend })))).filter(Boolean).length, 0);
  assert.equal(await resetLocks({ backend }), NAMES.length);
  const { locks } = await setLock(NAMES, { backend, expires: 60, fail: true });
  assert.equal((await listLocks({ backend: other })).length, NAMES.length);
  assert.deepEqual(await Promise.all(locks.map((lock) => unlock(lock.name, { backend }))), NAMES.map(() => true));
  const again = await Promise.all(NAMES.map((name) => getLock(name, { backend })));
  assert.deepEqual(await Promise.all(again.map((lock) => lock.unlock())), NAMES.map(() => true));
  assert.equal((await listLocks({ backend: other })).length, 0);
}

/** A waiter gets the lock when it is released, and a name that lapsed is free. */
async function waitingFor(backend: Backend, other: Backend): Promise<void> {
  const held = await getLock("awaited", { backend: other });
  const waiting = later(getLock("awaited", { backend, wait: 30 }));
  assert.equal(await tryLock("awaited", { backend }), undefined);
  await held.unlock();
  await (await waiting).unlock();
  await getLock("awaited", { backend, expires: 0.05 });
  await using _lapsed = await getLock("awaited", { backend: other, wait: 30 });
}
