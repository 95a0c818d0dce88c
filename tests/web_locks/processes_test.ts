import type { LockManagerSnapshot } from "@lockmgr/lockmgr/web-locks";
import { lockManager } from "@lockmgr/lockmgr/web-locks";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { start } from "../processes/spawn.ts";
import { stores } from "./engines.ts";

/** What a process says of its lock. */
interface Granted {
  readonly token: string;
  readonly state: LockManagerSnapshot;
}

for (const [engine, makeStore] of Object.entries(stores)) {
  test(`web locks, ${engine}: processes exclude and see each other, and a killed one frees its lock`, async () => {
    await using store = await makeStore();
    await using backend = await store.open();
    const locks = lockManager(backend);
    const run = () => start("tests/web_locks/holder.ts", [store.url, "a", "5"]);
    await using first = run();
    assert.equal(await first.next(), "requests");
    const { state, token } = await first.next<Granted>();
    assert.equal(state.held.length, 1);
    await using second = run();
    let seen = await locks.query();
    while (seen.pending.length === 0) seen = await locks.query();
    assert.deepEqual(seen.held, state.held);
    assert.deepEqual(seen.pending.map(({ name, mode }) => ({ name, mode })), [{ name: "a", mode: "exclusive" }]);
    assert.notEqual(seen.pending[0].clientId, seen.held[0].clientId);
    assert.equal(await locks.request("a", { ifAvailable: true }, (lock) => lock), null);
    first.child.kill("SIGKILL");
    assert.equal(await second.next(), "requests");
    const next = await second.next<Granted>();
    assert(BigInt(next.token) > BigInt(token));
    assert.deepEqual(next.state, { held: seen.pending, pending: [] });
    second.tell("release");
    assert.equal(await second.next(), "released");
    assert.equal(await second.ended, 0);
    assert.deepEqual(await locks.query(), { held: [], pending: [] });
  });
}
