/**
 * The cases of django-pglocks' own tests by their names, and what they leave out.
 *
 * @module
 */
import { type Backend, connect } from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { administrator, freshTable, server, until } from "./server.ts";

function open(): Promise<Backend> {
  return connect(server.url, { table: freshTable() });
}

/** Whether a key is locked by anybody, as the server shows it. */
async function shown(classid: number, objid: number, objsubid: number): Promise<boolean> {
  await using sql = administrator();
  const rows = await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted
    AND classid = ${classid} AND objid = ${objid} AND objsubid = ${objsubid}`;
  return rows.length > 0;
}

test("advisoryLock: test_basic_lock_str", async () => {
  await using backend = await open();
  const lock = await advisoryLock(backend, "test");
  assert.equal(lock.acquired, true);
  // the first 64 bits of SHA-256 of "test"
  assert.equal(lock.key, BigInt.asIntN(64, 0x9f86d081884c7d65n));
  assert.equal(await shown(0x9f86d081, 0x884c7d65, 1), true);
  assert.equal(await lock.release(), true);
  assert.equal(await shown(0x9f86d081, 0x884c7d65, 1), false);
  assert.equal(await lock.release(), false);
});

test("advisoryLock: test_basic_lock_int, with bigints to the ends of 64 bits", async () => {
  await using backend = await open();
  for (const [id, key] of [[123, 123n], [2n ** 63n - 1n, 2n ** 63n - 1n], [-(2n ** 63n), -(2n ** 63n)]] as const) {
    await using lock = await advisoryLock(backend, id);
    assert.deepEqual([lock.acquired, lock.key], [true, key]);
  }
  await using _lock = await advisoryLock(backend, 123);
  assert.equal(await shown(0, 123, 1), true);
});

test("advisoryLock: test_basic_lock_tuple", async () => {
  await using backend = await open();
  {
    await using _lock = await advisoryLock(backend, [5, 9]);
    assert.equal(await shown(5, 9, 2), true);
    await using _other = await advisoryLock(backend, 5n << 32n | 9n, { wait: false }); // another kind of key
    assert.equal(_other.acquired, true);
  }
  assert.equal(await shown(5, 9, 2), false);
});

test("advisoryLock: test_lock_released_on_exception", async () => {
  await using backend = await open();
  await assert.rejects(async () => {
    await using _lock = await advisoryLock(backend, [6, 6]);
    throw new Error("boom");
  }, /boom/);
  assert.equal(await shown(6, 6, 2), false);
});

test("advisoryLock: test_invalid_type_raises, and what is out of range", async () => {
  await using backend = await open();
  for (const id of [3.14, NaN, 2 ** 53, 2n ** 63n, [1, 2 ** 31], [1.5, 2]]) {
    await assert.rejects(advisoryLock(backend, id as number), (error: Error) => /Error$/.test(error.name));
  }
  for (const id of [null, undefined, {}, [1], [1, 2, 3], "\ud800"]) {
    await assert.rejects(advisoryLock(backend, id as string), TypeError);
  }
  await assert.rejects(advisoryLock(backend, 1, { timeout: -1 }), RangeError);
  await assert.rejects(advisoryLock(backend, "x", { key: "md5" as "crc32" }), TypeError);
  await assert.rejects(advisoryLock({} as Backend, 1), TypeError);
  const withoutClient = advisoryLock("report" as unknown as Backend, { wait: false } as unknown as string);
  await assert.rejects(withoutClient, /on a text: want a PostgreSQL backend, .*, and then the id$/);
});

test("advisoryLock: test_two_shared_locks, between sessions and within a process", async () => {
  await using backend = await open();
  await using other = await open();
  await using first = await advisoryLock(backend, 999, { shared: true });
  await using second = await advisoryLock(other, 999, { shared: true });
  const third = await advisoryLock(backend, 999, { shared: true });
  assert(first.acquired && second.acquired && third.acquired && third.shared);
  assert.equal((await advisoryLock(backend, 999, { wait: false })).acquired, false);
  assert.equal(await third.release(), true);
  assert.equal((await advisoryLock(other, 999, { wait: false })).acquired, false);
});

test("advisoryLock: test_nowait_returns_false_when_held, and waiting ends with the timeout or the release", async () => {
  await using backend = await open();
  await using sql = administrator();
  const blocker = await sql.reserve();
  await blocker`SELECT pg_advisory_lock(789)`;
  assert.equal((await advisoryLock(backend, 789, { wait: false })).acquired, false);
  await assert.rejects(advisoryLock(backend, 789, { timeout: 0.05 }), { name: "LockTimeout" });
  const waiting = advisoryLock(backend, 789, { timeout: 10 });
  await blocker`SELECT pg_advisory_unlock(789)`;
  await using lock = await waiting;
  assert.equal(lock.acquired, true);
  blocker.release();
});

test("advisoryLock: two tasks of one process exclude each other", async () => {
  await using sql = administrator();
  let inside = 0, most = 0;
  await Promise.all(Array.from({ length: 5 }, async () => {
    await using _lock = await advisoryLock(sql, "task", { timeout: 10 });
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 2));
    inside--;
  }));
  assert.equal(most, 1);
});

test("advisoryLock: a transaction lock lasts until the commit, and an error in the transaction is kept", async () => {
  await using backend = await open();
  await using sql = administrator();
  await sql.begin(async (tx) => {
    const lock = await advisoryLock(tx, "in transaction");
    assert.equal(lock.acquired, true);
    assert.equal(await lock.release(), false);
    assert.equal((await advisoryLock(tx, "in transaction", { wait: false })).acquired, true); // again, in one session
    assert.equal((await advisoryLock(backend, "in transaction", { wait: false })).acquired, false);
  });
  await using _free = await advisoryLock(backend, "in transaction", { wait: false });
  assert.equal(_free.acquired, true);
  await assert.rejects(
    sql.begin(async (tx) => {
      await using _lock = await advisoryLock(tx, "failing");
      await tx`SELECT 1 / 0`;
    }),
    /division by zero/,
  );
  await using _after = await advisoryLock(backend, "failing", { wait: false });
  assert.equal(_after.acquired, true);
});

test("advisoryLock: test_comment_true_adds_comment, whatever is in it", async () => {
  await using backend = await open();
  const comment = "report */ DROP TABLE x; /* 'job'";
  await using _lock = await advisoryLock(backend, 4711, { comment });
  await using sql = administrator();
  const [{ query }] = await sql`
    SELECT query FROM pg_stat_activity WHERE pid = (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711)`;
  assert(query.startsWith("/* report * / DROP TABLE x; / * 'job' */ SELECT"), query);
});

test("advisoryLock: the signal aborts when the session ends", async () => {
  await using backend = await open();
  const lock = await advisoryLock(backend, 815);
  const lost = new Promise((resolve) => lock.signal.addEventListener("abort", resolve));
  await using sql = administrator();
  await sql`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 815`;
  await lost;
  assert.equal(lock.signal.reason.name, "LockLost");
  assert.equal(await lock.release(), false);
  await using again = await advisoryLock(backend, 815);
  assert(again.acquired);
});

test("advisoryLock: key crc32 is zlib's, signed", async () => {
  await using backend = await open();
  await using positive = await advisoryLock(backend, "a", { key: "crc32" });
  await using negative = await advisoryLock(backend, "test", { key: "crc32" });
  await using check = await advisoryLock(backend, "123456789", { key: "crc32" });
  assert.deepEqual([positive.key, negative.key, check.key], [
    0xe8b7be43n - 2n ** 32n,
    0xd87f7e0cn - 2n ** 32n,
    0xcbf43926n - 2n ** 32n,
  ]);
});

test("advisoryLock: a backend on a function is refused", async () => {
  await using sql = administrator();
  const backend = await postgresBackend((text, parameters) => sql.unsafe(text, parameters), { table: freshTable() });
  await assert.rejects(advisoryLock(backend, 1), { name: "UnsupportedError" });
});

test("advisoryLock: behind a transaction pooler only locks of a transaction are granted", async () => {
  await using pooler = await PgBouncer.start(server.port);
  await using backend = await connect(pooler.url, { table: freshTable() });
  await using pooled = administrator(pooler.url, false); // postgres.js would prepare its savepoints
  await using sql = administrator();
  for (const client of [backend, pooled]) {
    for (const wait of [true, false]) {
      await assert.rejects(advisoryLock(client, 940, { wait }), (error: Error) => {
        assert.match(error.message, /pooler in transaction mode.*or a lock in a transaction/);
        return error.name === "UnsupportedError";
      });
    }
  }
  const waiting = async () =>
    (await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 940 AND NOT granted`).length > 0;
  const holder = await advisoryLock(sql, 940);
  await pooled.begin(async (tx) => {
    assert.equal((await advisoryLock(tx, 940, { wait: false })).acquired, false);
    await assert.rejects(advisoryLock(tx, 940, { timeout: 0.05 }), { name: "LockTimeout" });
    const abort = new AbortController();
    const aborted = assert.rejects(advisoryLock(tx, 940, { signal: abort.signal }), { name: "AbortError" });
    await until("the transaction waits", waiting);
    abort.abort();
    await aborted;
    assert.equal(await waiting(), false);
    const granted = advisoryLock(tx, 940);
    await until("the transaction waits", waiting);
    await holder.release();
    assert.equal((await granted).acquired, true);
    assert.equal((await advisoryLock(sql, 940, { wait: false })).acquired, false);
  });
  const after = await Promise.all([0, 1, 2, 3].map(() => pooled.begin((tx) => advisoryLock(tx, 940, { timeout: 30 }))));
  assert(after.every(({ acquired }) => acquired)); // no server connection of the pooler has kept it
  assert.equal(await shown(0, 940, 1), false);
});

test("advisoryLock: behind a pooler in session mode nothing stays after a release or a time-out", async () => {
  await using pooler = await PgBouncer.start(server.port, { mode: "session", poolSize: 10 });
  await using backend = await connect(pooler.url, { table: freshTable() });
  const lock = await advisoryLock(backend, 941);
  await assert.rejects(advisoryLock(backend, 941, { timeout: 0.05 }), { name: "LockTimeout" });
  assert.equal(await lock.release(), true);
  assert.equal(await shown(0, 941, 1), false);
});
