/**
 * A table of the version before queues: it is upgraded while its locks are held, and its clients are refused where they
 * would give away a name that others wait for.
 *
 * @module
 */
import { connect, getLock, listLocks, schemaOf, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, isWaiting, refusal, server, until } from "./server.ts";

/** By then three statements of other programs are answered that meet an upgrade (ms). */
const UPGRADING_MS = 3_000;

function oldSchema(table: string): string {
  return `
    CREATE TABLE ${table} (
      name text COLLATE "C" NOT NULL PRIMARY KEY, owner text, token bigint NOT NULL, locked_by text NOT NULL,
      lock_process bigint, locked_until timestamptz, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
      metadata json, liveness bigint, session_pid integer, listed boolean NOT NULL DEFAULT true,
      frequent boolean NOT NULL DEFAULT false) WITH (fillfactor = 50);
    CREATE INDEX ON ${table} (name) WHERE listed;
    CREATE SEQUENCE ${table}_token;
    INSERT INTO ${table} (name, owner, token, locked_by, created_at, updated_at)
    VALUES ('held', 'old', 5, 'host-a', now(), now())`;
}

/** What a client of that version sends to release a lock, and to acquire a free one. */
const release = (table: string) => `UPDATE ${table} SET owner = NULL WHERE name = 'held' AND owner = 'old'`;
const acquire = (table: string, name: string) =>
  `INSERT INTO ${table} AS l (name, owner, token, locked_by, created_at, updated_at)
   VALUES ('${name}', 'older', 1, 'x', now(), now()) ON CONFLICT (name) DO UPDATE SET owner = 'older', token = l.token + 1`;

test("a table of the version before queues is upgraded, and its locks stay held", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(oldSchema(table));
  await assert.rejects(
    connect(server.url, { table, migrate: false }),
    /is of an earlier version, and "migrate" is off/,
  );
  const [one, two] = await Promise.all([connect(server.url, { table }), connect(server.url, { table })]);
  await using _one = one;
  await using _two = two;
  assert.deepEqual(await Promise.all([one, two].map((backend) => tryLock("held", { backend }))), [
    undefined,
    undefined,
  ]);
  const [record] = await listLocks({ backend: one });
  assert.deepEqual([record.token, record.limit, record.waiters], [5n, 1, 0]);
  const waiting = later(getLock("held", { backend: two, wait: 30 }));
  await until("it waits", async () => (await listLocks({ backend: one }))[0].waiters === 1);
  await sql.begin(async (tx) => { // before the waiter looks
    assert.equal((await tx.unsafe(release(table))).count, 1); // a client of that version releases what is waited for
    await assert.rejects(tx.savepoint((step) => step.unsafe(acquire(table, "held"))), /check constraint/);
  });
  const lock = await waiting;
  assert(lock.token > 5n);
});

test("`schema` prints what upgrades a table of the version before queues", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(oldSchema(table));
  const printed = await schemaOf(`postgres://localhost/x?lockmgr_table=${table}`);
  await sql.unsafe(printed.slice(printed.lastIndexOf("-- ") + 3));
  await using backend = await connect(server.url, { table, migrate: false });
  assert((await getLock("shared", { backend, shared: true })).held);
});

test("a client of the version before queues cannot give away a name with a queue", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  const readers = [await getLock("a", { backend, shared: true }), await getLock("a", { backend, shared: true })];
  await assert.rejects(sql.unsafe(acquire(table, "a")), /check constraint/);
  for (const reader of readers) assert.equal(await reader.unlock(), true);
  assert.equal((await sql.unsafe(acquire(table, "a"))).count, 1);
});

test("while a transaction has the table open, its upgrade lets other programs use the table", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(oldSchema(table));
  const transaction = await sql.reserve();
  await transaction.unsafe(`BEGIN; SELECT count(*) FROM ${table}`);
  const upgrading = connect(server.url, { table });
  await refusal(sql, table);
  const startedAt = performance.now();
  for (let uses = 0; uses < 3; uses++) {
    await sql.unsafe(`UPDATE ${table} SET updated_at = now() WHERE name = 'held'`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert(performance.now() - startedAt < UPGRADING_MS);
  await transaction.unsafe("COMMIT");
  transaction.release();
  await using backend = await upgrading;
  assert.equal(await tryLock("held", { backend }), undefined);
});

test("an upgrade that another transaction does not let through is an error that says so, and waits no longer", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(oldSchema(table));
  const transaction = await sql.reserve();
  await transaction.unsafe(`BEGIN; SELECT count(*) FROM ${table}`);
  await assert.rejects(connect(server.url, { table }), {
    name: "BackendError",
    retryable: true,
    message: /^Cannot upgrade table "test_\d+": another transaction uses it/,
  });
  assert.equal(await isWaiting(sql, table), false);
  await transaction.unsafe("COMMIT");
  transaction.release();
});
