/** What only the queue of this engine does: it sees that the process of a waiter has disconnected, or its session ended. */
import {
  cleanLocks,
  connect,
  getLock,
  getLocks,
  isLocked,
  listLocks,
  type LockFail,
  setLock,
  tryLock,
} from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { around, test } from "../core/wrapping.ts";
import { start } from "../processes/spawn.ts";
import { administrator, freshTable, refusal, server, until } from "./server.ts";

test("a waiter whose process has disconnected is skipped at once", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  await using other = await connect(server.url, { table });
  const holder = await getLock("a", { backend });
  const waiter = {
    owner: "dead",
    limit: 1,
    duration: 60e6,
    until: 4e15,
    lockedBy: "x",
    lockProcess: null,
    metadata: null,
  };
  const entry = JSON.stringify({ ...waiter, until: null, listener: "lockmgr_gone" });
  await sql.unsafe(`UPDATE ${table} SET line_owner = owner, line = ARRAY[$1::text::jsonb]`, [entry]);
  const waiting = later(getLock("a", { backend: other, wait: 30 }));
  await until("it waits alone", async () => (await listLocks({ backend }))[0].waiters === 1);
  await holder.unlock();
  const [{ now }] = await sql`SELECT (date_part('epoch', clock_timestamp()) * 1e6)::bigint::text AS now`;
  const next = await waiting;
  assert(next.token <= BigInt(now), "the release did not grant the lock to the live waiter"); // a token is the time of the grant (µs)
  await next.unlock();
});

test("a waiter whose process was killed keeps out no reader", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  await using other = await connect(server.url, { table });
  await getLock("a", { backend, shared: true });
  await using writer = start("tests/postgres/waiter.ts", [server.url, "lease", table, "a", "60"]);
  const listens = async (place: number) =>
    (await sql.unsafe(`SELECT FROM ${table} WHERE line[${place}]->>'listener' IS NOT NULL`)).length === 1;
  await until("the writer waits", () => listens(1));
  const reading = later(getLock("a", { backend: other, shared: true, wait: 30 }));
  await until("the reader waits", () => listens(2));
  writer.child.kill("SIGKILL");
  await writer.ended;
  const from = performance.now();
  await (await reading).unlock();
  const took = performance.now() - from;
  await (await getLock("b", { backend: other })).unlock();
  const pair = performance.now() - from - took; // on a busy machine each statement takes its time
  assert(took < 2_000 + 3 * pair, `the reader waited for ${took} ms for one that is dead`);
});

test("hybrid: what was granted to a session that has ended is no lock of the next session", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table, mode: "hybrid" });
  await using other = await connect(server.url, { table, mode: "hybrid" });
  const holder = await getLock("a", { backend });
  const waiting = later(getLock("a", { backend: other, wait: 30 }));
  await until("it waits", async () => (await listLocks({ backend }))[0].waiters === 1);
  const [{ key, pid }] = await sql.unsafe(
    `SELECT line[1]->>'liveness' AS key, line[1]->>'session' AS pid FROM ${table}`,
  );
  // Another connection keeps the session's liveness lock, as the server itself does for an instant after its end.
  const late = await sql.reserve();
  try {
    const kept = late.unsafe("SELECT pg_advisory_lock($1::text::bigint)", [key]);
    kept.catch(() => {});
    const queued = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    await until("the key is asked for", async () => (await sql.unsafe(queued)).length === 1);
    await sql.unsafe("SELECT pg_terminate_backend($1::int)", [pid]);
    await kept;
    await holder.unlock();
    const lock = await waiting;
    await late.unsafe("SELECT pg_advisory_unlock($1::text::bigint)", [key]);
    // it is of the next session, or known to be lost
    assert.equal(await tryLock("a", { backend }) === undefined, lock.held);
    assert.equal(await lock.verify(), lock.held);
  } finally {
    late.release();
  }
});

test("a shared holder renews while the holder before it releases", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using other = await connect(server.url, { table });
  let between: (() => Promise<unknown>) | undefined;
  await using backend = await postgresBackend(async (text, parameters) => {
    const rows = await sql.unsafe(text, parameters as string[]);
    if (text.includes("UPDATE")) await [between, between = undefined][0]?.();
    return rows;
  }, { table });
  const first = await getLock("a", { backend: other, shared: true });
  const second = await getLock("a", { backend, shared: true });
  between = () => first.unlock(); // after the statement for the first holders, which `second` is from then on
  await second.renew({ expires: 900 });
  assert(second.expiresIn! > 800);
  assert.equal(await second.unlock(), true);
});

test("a locked row with a queue is held by another for getLocks, and waited for by cleanLocks", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  await using other = await connect(server.url, { table });
  const holder = await getLock("a", { backend });
  const waiting = later(getLock("a", { backend: other, wait: 30 }));
  await until("it waits", async () => (await listLocks({ backend }))[0].waiters === 1);
  let cleaning: Promise<number> | undefined;
  await sql.begin(async (transaction) => {
    await transaction.unsafe(`SELECT FROM ${table} WHERE name = 'a' FOR UPDATE`);
    await assert.rejects(getLocks(["a", "b"], { backend }), { name: "Locked" });
    assert.equal(await isLocked("b", { backend }), false);
    cleaning = cleanLocks({ backend });
    cleaning.catch(() => {});
    await refusal(sql, table);
  });
  assert.equal(await cleaning, 0);
  await holder.unlock();
  await (await waiting).unlock();
});

/** Keeps the row of "a" locked until the server has refused it three times; returns what `request` began meanwhile. */
async function refused<T>(table: string, request: () => Promise<T>): Promise<{ answer: Promise<T> }> {
  await using sql = administrator();
  return await sql.begin(async (transaction) => {
    await transaction.unsafe(`SELECT FROM ${table} WHERE name = 'a' FOR UPDATE`);
    const answer = later(request());
    for (let times = 0; times < 3; times++) await refusal(sql, table);
    return { answer };
  });
}

test("a waiter that was granted the lock keeps it when the row is locked as it confirms", async () => {
  const table = freshTable();
  await using other = await connect(server.url, { table });
  await using real = await connect(server.url, { table });
  const granted = Promise.withResolvers<void>();
  const locked = Promise.withResolvers<void>();
  let released = false;
  const backend = around(real, {
    async acquire(...request) {
      if (released) granted.resolve();
      if (released) await locked.promise;
      return await real.acquire(...request);
    },
  });
  const holder = await getLock("a", { backend: other });
  const waiting = later(getLock("a", { backend, wait: 30 }));
  await until("it waits", async () => (await listLocks({ backend: other }))[0].waiters === 1);
  released = true;
  await holder.unlock();
  await granted.promise;
  const [{ token }] = await listLocks({ backend: other });
  assert(token > holder.token);
  const free = later(tryLock("b", { backend }));
  const { answer } = await refused(table, () => Promise.resolve(locked.resolve()).then(() => free));
  assert(await answer, "a free name in the same batch");
  assert.equal((await waiting).token, token);
});

test("a shared holder renews behind the transaction that has locked the row", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  const [_first, second] = [1, 2].map(() => getLock("a", { backend, shared: true }));
  const lock = await second;
  await (await refused(table, () => lock.renew({ expires: 900 }))).answer;
  assert(lock.expiresIn! > 800);
});

test("setLock with `fail` names the lock that is held, by whatever kind of holder", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  for (const options of [{ shared: true }, { limit: 2 }, {}]) {
    await using holder = await getLock("world", { backend, ...options });
    const refused = setLock(["hello", "world"], { backend, fail: true });
    await assert.rejects(
      refused,
      (error: LockFail) => error.lockName === "world" && error.lock?.token === holder.token,
    );
    assert.equal(await isLocked("hello", { backend }), false);
  }
});
