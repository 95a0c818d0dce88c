import { connect, getLock, type Mode, unlock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import process from "node:process";
import pg from "pg";
import type postgres from "postgres";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { start } from "../processes/spawn.ts";
import { administrator, freshTable, server, until } from "./server.ts";

for (const mode of ["lease", "hybrid"] satisfies Mode[]) {
  test(`${mode}: guard: the lock cannot change hands until the commit`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    await using sql = administrator();
    const lock = await getLock("a", { backend, expires: 3 });
    let committed = false;
    const taken = later(getLock("a", { backend: other, wait: 10 }).then((next) => ({ next, early: !committed })));
    await sql.begin(async (tx) => {
      await lock.guard(tx);
      await new Promise((resolve) => setTimeout(resolve, 3_300)); // past the end of the lease
      committed = true;
    });
    const { next, early } = await taken;
    assert.equal(early, false);
    await assert.rejects(sql.begin((tx) => lock.guard(tx)), { name: "LockLost" });
    assert.equal(lock.held, false);
    await next.unlock();
  });

  test(`${mode}: guard: throws when another client holds the lock, and without a transaction`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using sql = administrator();
    const lock = await getLock("a", { backend });
    await assert.rejects(lock.guard(sql), TypeError);
    await assert.rejects(lock.guard({}), TypeError);
    await unlock("a", { backend });
    await using _next = await getLock("a", { backend });
    await assert.rejects(sql.begin((tx) => lock.guard(tx)), { name: "LockLost" });
  });
}

for (const mode of ["lease", "hybrid"] satisfies Mode[]) {
  for (const isolation of ["repeatable read", "serializable"]) {
    test(`${mode}: guard: ${isolation}: a lock that is newer than the snapshot is not lost`, async () => {
      await using backend = await connect(server.url, { mode, table: freshTable() });
      await using sql = administrator();
      const within = (body: (tx: postgres.TransactionSql) => Promise<void>) =>
        sql.begin(`isolation level ${isolation}`, async (tx) => {
          await tx`SELECT count(*) FROM pg_class`; // takes the snapshot
          await body(tx);
        });
      await within(async (tx) => {
        const unlocked = await getLock("a", { backend });
        await unlocked.unlock();
        const lock = await getLock("a", { backend });
        await assert.rejects(lock.guard(tx), { code: "BACKEND", retryable: true, message: /begins after/ });
        assert.equal(lock.held, true);
        await within((later) => lock.guard(later));
        await unlock("a", { backend });
        await assert.rejects(lock.guard(tx), { name: "LockLost" });
      });
    });
  }

  test(`${mode}: guard: a function that answers no rows says nothing about the lock`, async () => {
    await using backend = await connect(server.url, { mode, table: freshTable() });
    await using lock = await getLock("a", { backend });
    await assert.rejects(lock.guard(() => Promise.resolve([])), { name: "TypeError", message: /no rows/ });
    assert.equal(lock.held, true);
  });

  test(`${mode}: guard: a client of node-postgres or a function is refused unless its transaction is open`, async () => {
    await using backend = await connect(server.url, { mode, table: freshTable() });
    await using lock = await getLock("a", { backend });
    const pool = new pg.Pool({ connectionString: server.url, max: 2 });
    const client = await pool.connect();
    const execute = (text: string, parameters: unknown[]) =>
      client.query(text, parameters).then(({ rows }: { rows: object[] }) => rows);
    try {
      for (const without of [pool, client, execute]) {
        await assert.rejects(lock.guard(without), { name: "TypeError", message: /no transaction is open/ });
      }
      for (const within of [client, execute]) {
        await client.query("BEGIN");
        await assert.rejects(lock.guard(pool), /no transaction is open/);
        await lock.guard(within);
        await client.query("COMMIT");
      }
      assert(lock.held);
    } finally {
      client.release();
      await pool.end();
    }
  });
}

test("guard: a transaction of a query builder is refused with what to pass instead", async () => {
  await using backend = await connect(server.url, { table: freshTable() });
  await using lock = await getLock("a", { backend });
  const nothing = () => assert.fail("it sent a statement");
  const knex = Object.assign(nothing, { raw: nothing, queryBuilder: nothing, commit: nothing, rollback: nothing });
  await assert.rejects(lock.guard(knex), /Knex; want await trx\.client\.acquireConnection\(\)/);
  await assert.rejects(
    lock.guard({ commit: nothing, rollback: nothing, afterCommit: nothing }),
    /transaction\.connection/,
  );
  await assert.rejects(lock.guard(new Promise(() => {})), /it is a promise/);
  await assert.rejects(Promise.resolve().then(() => lock.guardSync({})), { name: "UnsupportedError" });
});

test("session: guard is refused", async () => {
  await using backend = await connect(server.url, { mode: "session", table: freshTable() });
  await using lock = await getLock("a", { backend });
  await using sql = administrator();
  await assert.rejects(sql.begin((tx) => lock.guard(tx)), { name: "UnsupportedError" });
});

test("guard: the lock is renewed when the transaction ends, other locks meanwhile", async () => {
  await using backend = await connect(server.url, { table: freshTable() });
  await using sql = administrator();
  const names = ["a", "b", "c"];
  const locks = await Promise.all(names.map((name) => getLock(name, { backend, expires: 3, autoRenew: true })));
  await sql.begin(async (tx) => {
    await locks[1].guard(tx);
    const before = locks[0].lockedUntil!;
    await until("a neighbour was renewed", async () => (await locks[0].refresh()).lockedUntil! > before);
  });
  const before = locks[1].lockedUntil!;
  await until("the guarded lock was renewed", async () => (await locks[1].refresh()).lockedUntil! > before);
  assert.deepEqual(locks.map(({ held }) => held), [true, true, true]);
  for (const lock of locks) await lock.unlock();
});

test("guard: a holder stopped beyond its lease cannot write", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(`CREATE TABLE ${table}_ledger (writer text)`);
  await using stopped = start("tests/postgres/guarded_writer.ts", [server.url, table, "1"]);
  assert.equal(await stopped.next(), "held");
  process.kill(stopped.child.pid!, "SIGSTOP");
  await using backend = await connect(server.url, { table });
  const lock = await getLock("ledger", { backend, wait: 20 });
  await sql.begin(async (tx) => {
    await tx.unsafe(`INSERT INTO ${table}_ledger VALUES ('second')`);
    await lock.guard(tx);
  });
  process.kill(stopped.child.pid!, "SIGCONT");
  stopped.tell("write");
  assert.equal(await stopped.next(), "LockLost");
  assert.deepEqual([...await sql.unsafe(`SELECT writer FROM ${table}_ledger`)], [{ writer: "second" }]);
  await lock.unlock();
});

test("guard: a transaction with the only connection of a pool is told that nothing else answers", async () => {
  const pool = new pg.Pool({ connectionString: server.url, max: 1 });
  const table = freshTable();
  await using backend = await postgresBackend((text, values) => pool.query(text, values), { table });
  await using other = await connect(server.url, { table });
  const lock = await getLock("a", { backend });
  await unlock("a", { backend: other });
  const client = await pool.connect();
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  await assert.rejects(lock.guard(client), { name: "BackendError", retryable: true, message: /no other connection/ });
  await client.query("ROLLBACK");
  client.release();
  await backend[Symbol.asyncDispose]();
  await pool.end();
});
