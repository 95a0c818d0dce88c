import { type Backend, connect, getLock, type Mode, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, channelOf, freshTable, server } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid", "session"];

/** What the server has counted: calls of statements, and where its log of changes is. */
async function counted(work: () => Promise<unknown>): Promise<{ calls: number; wal: number }> {
  await using sql = administrator();
  await sql`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`;
  await sql`CHECKPOINT`;
  await sql`SELECT pg_stat_statements_reset()`;
  const [{ lsn }] = await sql`SELECT pg_current_wal_insert_lsn()::text AS lsn`;
  await work();
  const [row] = await sql`
    SELECT (SELECT coalesce(sum(calls), 0) FROM pg_stat_statements
        WHERE query LIKE '%lock%' AND query NOT LIKE '%pg_stat_statements%' AND query NOT LIKE '%wal_insert%')::int AS calls,
      (pg_current_wal_insert_lsn() - ${lsn}::pg_lsn)::int AS wal`;
  return { calls: row.calls, wal: row.wal };
}

/** Everything that is done once: the table, the sessions, the plans. */
async function warm(backend: Backend): Promise<void> {
  for (let round = 0; round < 8; round++) {
    await using lock = await getLock("warm", { backend });
    if (backend.mode !== "session") await lock.renew();
    await tryLock("warm", { backend });
  }
}

for (const mode of MODES) {
  test(`${mode}: an uncontended acquire, renewal and release are one statement each`, async () => {
    await using backend = await connect(server.url, { mode, table: freshTable() });
    await warm(backend);
    const locks: Awaited<ReturnType<typeof getLock>>[] = [];
    const acquired = await counted(async () => locks.push(await getLock("a", { backend })));
    assert.equal(acquired.calls, 1);
    if (mode !== "session") assert.equal((await counted(() => locks[0].renew())).calls, 1);
    assert.equal((await counted(() => locks[0].unlock())).calls, 1);
  });

  test(`${mode}: a failed try is one statement and writes nothing`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    await warm(other);
    await using _held = await getLock("a", { backend });
    await tryLock("a", { backend: other });
    let failed = { calls: 0, wal: Infinity };
    for (let round = 0; round < 3 && failed.wal > 0; round++) { // the server's own processes write now and then
      failed = await counted(() => tryLock("a", { backend: other }));
    }
    assert.deepEqual(failed, { calls: 1, wal: 0 });
  });
}

for (const mode of ["lease", "hybrid"] as const) {
  test(`${mode}: a name acquired by another client after our release is refused without a write`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    await warm(backend);
    let written = Infinity;
    for (let round = 0; round < 3 && written > 0; round++) { // the server's own processes write now and then
      const mine = await getLock("a", { backend });
      await mine.unlock();
      const taken = await getLock("a", { backend: other });
      ({ wal: written } = await counted(async () => assert.equal(await tryLock("a", { backend }), undefined)));
      assert.equal(await taken.verify(), true);
      await taken.unlock();
      const next = await getLock("a", { backend });
      assert(mine.token < taken.token && taken.token < next.token);
      await next.unlock();
    }
    assert.equal(written, 0);
  });
}

test("a release notifies the process alone whose waiter it grants the lock to", async () => {
  await using sql = administrator();
  const heard: string[] = [];
  const nameOf = (payload: string) => JSON.parse(payload)[1];
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  await using other = await connect(server.url, { table });
  const held = await getLock("awaited", { backend });
  const waiting = later(getLock("awaited", { backend: other, wait: 10 }));
  const channel = await channelOf(sql, table, "awaited");
  await sql.listen(channel, (payload) => heard.push(nameOf(payload)));
  const told = async (mark: string) => {
    await sql.notify(channel, JSON.stringify(["", mark, ""]));
    while (!heard.includes(mark)) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  await (await getLock("quiet", { backend })).unlock();
  await told("no waiter");
  assert.deepEqual(heard, ["no waiter"]);
  await held.unlock();
  await (await waiting).unlock();
  await told("a waiter");
  assert.deepEqual(heard, ["no waiter", "awaited", "a waiter"]);
});

test("a batch releases the locks of its owners and nothing else, with and without a row", async () => {
  await using backend = await connect(server.url, { table: freshTable() });
  await using _mine = await getLock("mine", { backend });
  await using _other = await getLock("other's", { backend });
  const answers = await backend.release([
    { name: "mine", owner: null },
    { name: "never there", owner: null },
    { name: "never there either", owner: crypto.randomUUID() },
    { name: "other's", owner: crypto.randomUUID() },
  ]);
  assert.deepEqual(answers, [true, false, false, false]);
  assert.deepEqual((await backend.list({ includeExpired: true })).map(({ name }) => name), ["other's"]);
  const fresh = await getLock("never there either", { backend });
  assert.equal(await fresh.unlock(), true);
});

test("a name acquired often stays in the index of held names and is listed only while held", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  const indexed = async () => (await sql`SELECT name FROM ${sql(table)} WHERE listed`).map(({ name }) => name);
  await (await getLock("a", { backend })).unlock();
  assert.deepEqual(await indexed(), []);
  await (await getLock("a", { backend })).unlock();
  assert.deepEqual(await indexed(), ["a"]);
  assert.deepEqual(await backend.list({}), []);
  assert.deepEqual(await backend.list({ includeExpired: true }), []);
  await sql`UPDATE ${sql(table)} SET updated_at = updated_at - interval '11 seconds'`;
  await (await getLock("a", { backend })).unlock();
  assert.deepEqual(await indexed(), []);
});

test("a locked row is busy, and the other names of its batch are acquired", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  const names = Array.from({ length: 100 }, (_, index) => `lock ${index}`);
  for (const name of [names[3], names[70]]) await (await getLock(name, { backend })).unlock();
  const locks = await sql.begin(async (tx) => {
    await tx`SELECT FROM ${sql(table)} WHERE name IN (${names[3]}, ${names[70]}) FOR SHARE`;
    return await Promise.all(names.map((name) => tryLock(name, { backend })));
  });
  assert.deepEqual(names.filter((_, index) => locks[index] === undefined), [names[3], names[70]]);
  const freed = await Promise.all(locks.map((lock) => lock?.unlock()));
  assert.equal(freed.filter(Boolean).length, 98);
});
