import { connect, getLock, isLocked, listLocks, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** How many connections and advisory locks of ours the server has. */
async function usage(): Promise<{ connections: number; locks: number }> {
  await using sql = administrator();
  const [row] = await sql`
    SELECT (SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory')::int AS connections,
      (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')::int AS locks`;
  return row as unknown as { connections: number; locks: number };
}

test("hybrid: a thousand locks take one lock of the server", async () => {
  await using backend = await connect(server.url, { mode: "hybrid", table: freshTable() });
  const before = await usage();
  const names = Array.from({ length: 1_000 }, (_, index) => `name ${index}`);
  const locks = await Promise.all(names.map((name) => getLock(name, { backend })));
  const held = await usage();
  assert.deepEqual([held.locks - before.locks, held.connections - before.connections], [1, 1]);
  await Promise.all(locks.map((lock) => lock.unlock()));
});

test("hybrid: those who find the session ended open one together, and it goes with the backend", async () => {
  const isFree = async () => (await usage()).connections === 0;
  await until("no connection of an earlier test is left", isFree);
  {
    await using backend = await connect(server.url, { mode: "hybrid", table: freshTable() });
    const lock = await getLock("first", { backend });
    await using sql = administrator();
    await sql`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'`;
    await aborted(lock.signal);
    await until("the server has ended it", isFree);
    const rest = { duration: 60e6, lockedBy: "x", lockProcess: null, metadata: null, limit: 1 };
    await Promise.all(["a", "b", "c"].map((name) => backend.acquire([{ name, owner: name, ...rest }])));
    assert.equal((await usage()).connections, 1);
  }
  await until("no connection of ours is left", isFree);
});

test("session: a shared lock is refused, and the error names what keeps shared locks", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { mode: "session", table });
  const wanted = { name: "UnsupportedError", message: /"session" mode.*advisoryLock/ };
  await assert.rejects(getLock("a", { backend, shared: true }), wanted);
  await assert.rejects(tryLock("a", { backend, shared: true }), wanted);
  await using lock = await getLock("a", { backend });
  assert(lock.held);
});

test("session: whose lock it is shows for names that others hold", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { mode: "session", table });
  await using other = await connect(server.url, { mode: "session", table });
  await using lock = await getLock("a", { backend });
  assert.equal(await isLocked("a", { backend: other }), true);
  assert.equal(await isLocked("b", { backend: other }), false);
  assert.deepEqual(await listLocks({ backend: other }), []);
  const [row] = await other.list({ names: ["a"] });
  assert.equal(row.session, lock.session);
});

test("session: a token that cannot be drawn leaves no lock behind", async () => {
  const table = freshTable();
  await (await connect(server.url, { mode: "session", table }))[Symbol.asyncDispose]();
  await using backend = await connect(server.url, { mode: "session", table, migrate: false });
  await using sql = administrator();
  await sql.unsafe(`DROP SEQUENCE ${table}_token`);
  await assert.rejects(getLock("a", { backend }), { name: "BackendError" });
  const before = await usage();
  await sql.unsafe(`CREATE SEQUENCE ${table}_token`);
  await using _lock = await getLock("a", { backend });
  assert.equal((await usage()).locks, before.locks + 1);
});

test("modes that need rows or sessions say so", async () => {
  await using backend = await connect(server.url, { mode: "session", table: freshTable() });
  await assert.rejects(getLock("a", { backend, expires: 5 }), { name: "UnsupportedError" });
  await assert.rejects(getLock("a", { backend, metadata: 1 }), { name: "UnsupportedError" });
});
