import {
  type Backend,
  cleanLocks,
  getLock,
  getLocks,
  isLocked,
  listLocks,
  type ListOptions,
  resetLocks,
  UnsupportedError,
} from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { always, type Case, later, turn, withRows } from "../case.ts";

/** Takes a name, and comes back when its lease has run out by the server's clock. */
async function lapsed(name: string, options: { backend: Backend }) {
  const lock = await getLock(name, { ...options, expires: 0.02 });
  while (await isLocked(name, options)) await new Promise((resolve) => setTimeout(resolve, 5));
  return lock;
}

/** Looking, cleaning up, and removing everything. */
export const listing: readonly Case[] = [
  always("held locks are listed in the order of their names", async ({ backend }) => {
    const locks = [];
    for (const name of ["b", "a", "c"]) locks.push(await getLock(name, { backend }));
    assert.deepEqual((await listLocks({ backend })).map(({ name }) => name), ["a", "b", "c"]);
    await locks[0].unlock();
    assert.deepEqual((await listLocks({ backend })).map(({ name }) => name), ["a", "c"]);
    assert.equal((await listLocks({ backend }))[0].token, locks[1].token);
  }),

  always("names are listed in the order of their code points", async ({ backend }) => {
    const ordered = ["B", "Z", "a", "a b", "aa", "z", "ä", "\uffee", "🔒", "🔓"]; // by UTF-16 units 🔒 precedes U+FFEE
    await using _set = await getLocks(ordered.toReversed(), { backend });
    const listed = async (options: ListOptions) => (await listLocks({ backend, ...options })).map(({ name }) => name);
    assert.deepEqual(await listed({}), ordered);
    assert.deepEqual(await listed({ names: ordered.toReversed() }), ordered);
  }),

  withRows("another backend sees the same", async ({ backend, another }) => {
    const lock = await getLock("a", { backend, lockedBy: "host-a", lockProcess: 9, metadata: { why: "test" } });
    const [record] = await listLocks({ backend: await another() });
    assert.equal(record.token, lock.token);
    assert.equal(record.lockedBy, "host-a");
    assert.equal(record.lockProcess, 9);
    assert.deepEqual(record.metadata, { why: "test" });
    assert.equal(record.lockedUntil!.getTime(), lock.lockedUntil!.getTime());
    assert.equal(String(record), String(lock));
  }),

  withRows("a prefix is compared exactly", async ({ backend }) => {
    for (const name of ["jobs:a", "jobs:b", "jobsX", "JOBS:a", "j%bs", "j_bs:a", "🔒a", "🔒b"]) {
      await getLock(name, { backend });
    }
    const names = async (prefix: string) => (await listLocks({ backend, prefix })).map(({ name }) => name);
    assert.deepEqual(await names("jobs:"), ["jobs:a", "jobs:b"]);
    assert.deepEqual(await names("j%"), ["j%bs"]);
    assert.deepEqual(await names("j_"), ["j_bs:a"]);
    assert.deepEqual(await names("🔒"), ["🔒a", "🔒b"]);
    assert.deepEqual(await names("none"), []);
    assert.equal((await names("")).length, 8);
  }),

  withRows("reading never changes anything, cleaning does (test_lock_expiry)", async ({ backend }, { expiredRows }) => {
    await lapsed("old", { backend });
    if (!expiredRows) assert.equal(await cleanLocks({ backend }), 0);
    await getLock("live", { backend });
    assert.equal(await isLocked("old", { backend }), false);
    assert.deepEqual((await listLocks({ backend })).map(({ name }) => name), ["live"]);
    if (!expiredRows) return;
    const all = await listLocks({ backend, includeExpired: true });
    assert.deepEqual(all.map(({ name, expired }) => [name, expired]), [["live", false], ["old", true]]);
    assert(all[1].expiresIn! <= 0);
    assert.equal(await cleanLocks({ backend }), 1);
    assert.equal(await cleanLocks({ backend }), 0);
    assert.deepEqual((await listLocks({ backend, includeExpired: true })).map(({ name }) => name), ["live"]);
  }),

  withRows("reset removes the locks of all holders", async ({ backend, another }) => {
    const lock = await getLock("a", { backend });
    await getLock("b", { backend: await another(), expires: 0 });
    assert.equal(await resetLocks({ backend }), 2);
    assert.equal(await resetLocks({ backend }), 0);
    assert.equal(await isLocked("a", { backend }), false);
    assert.equal(await lock.verify(), false);
    assert((await getLock("a", { backend })).token > lock.token);
  }),

  always("observe reports holders and waiters that the server knows", async ({ backend, another }, { mode }) => {
    if (backend.observe === undefined) return;
    const observer = await another();
    const seen = async () => (await observer.observe!(["free", "ä 'b'"]))[1];
    const lock = await getLock("ä 'b'", { backend });
    const [free, held] = await observer.observe!(["free", "ä 'b'"]);
    assert.deepEqual([free.name, free.holders, held.name], ["free", [], "ä 'b'"]);
    assert.deepEqual(held.holders.map(({ session }) => session), mode === "lease" ? [] : [lock.session]);
    for (const { client } of held.holders) assert.notEqual(client, "");
    const waits = held.waiters !== undefined && backend.watch !== undefined;
    const waiting = later(getLock("ä 'b'", { backend: await another(), wait: 30 }));
    while (waits && (await seen()).waiters!.length === 0) await turn();
    assert.equal((await seen()).waiters?.length, held.waiters && (waits ? 1 : 0));
    await lock.unlock();
    await (await waiting).unlock();
    while ((await seen()).waiters?.length) await turn();
    assert.deepEqual((await seen()).holders, []);
    assert.deepEqual(await observer.observe!([]), []);
  }),

  always("in session mode nothing is reset, and nothing needs cleaning", async ({ backend }, { mode }) => {
    if (mode !== "session") return;
    await assert.rejects(resetLocks({ backend }), UnsupportedError);
    assert.equal(await cleanLocks({ backend }), 0);
  }),
];
