/**
 * A table of the version before queues: it is upgraded while its locks are held, and its clients are refused where they
 * would give away a name that others wait for.
 *
 * @module
 */
import { connect, getLock, listLocks, schemaOf, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { place } from "./place.ts";

const OLD_SCHEMA = `
  CREATE TABLE lockmgr_locks (
    name TEXT NOT NULL PRIMARY KEY, owner TEXT, token INTEGER NOT NULL, locked_by TEXT NOT NULL, lock_process INTEGER,
    locked_until INTEGER, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, metadata TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX lockmgr_locks_held ON lockmgr_locks (name) WHERE owner IS NOT NULL;
  INSERT INTO lockmgr_locks VALUES ('held', 'old', 5, 'host-a', 7, NULL, 1, 1, '{}');`;

/** What a client of that version sends to release a lock, and to acquire one that has expired. */
const OLD_RELEASE = "UPDATE lockmgr_locks SET owner = NULL WHERE name = ? AND owner = ?";
const OLD_ACQUIRE = "UPDATE lockmgr_locks SET owner = ? WHERE name = ?";

test("sqlite: a table of the version before queues is upgraded, and its locks stay held", async () => {
  await using somewhere = await place();
  using old = new DatabaseSync(somewhere.path);
  old.exec(OLD_SCHEMA);
  await using strict = await connect(somewhere.path, { migrate: false });
  await assert.rejects(getLock("held", { backend: strict }), /is of an earlier version, and "migrate" is off/);
  await using one = await connect(somewhere.path);
  await using two = await connect(somewhere.path);
  const [first, second] = await Promise.all([one, two].map((backend) => tryLock("held", { backend })));
  assert.deepEqual([first, second], [undefined, undefined]);
  const [record] = await listLocks({ backend: one });
  assert.deepEqual([record.token, record.limit, record.waiters], [5n, 1, 0]);
  const waiting = getLock("held", { backend: two, wait: 30 });
  while ((await listLocks({ backend: one }))[0].waiters === 0);
  assert.equal(old.prepare(OLD_RELEASE).run("held", "old").changes, 1); // a client of that version releases it
  assert.throws(() => old.prepare(OLD_ACQUIRE).run("older", "held"), /CHECK constraint failed/);
  const lock = await waiting;
  assert(lock.token > 5n);
  assert.equal(await lock.unlock(), true);
  assert((await getLock("held", { backend: strict })).token > lock.token);
});

test("sqlite: `schema` prints what upgrades a table of the version before queues", async () => {
  await using somewhere = await place();
  using old = new DatabaseSync(somewhere.path);
  old.exec(OLD_SCHEMA);
  const printed = await schemaOf("sqlite:locks.db");
  const statements = printed.slice(printed.indexOf("-- A table")).split("\n").slice(1).map((line) => line.slice(3));
  old.exec(statements.join("\n"));
  await using backend = await connect(somewhere.path, { migrate: false });
  assert.equal((await listLocks({ backend })).length, 1);
  assert((await getLock("shared", { backend, shared: true })).held);
});

test("sqlite: a client of the version before queues cannot give away a name with a queue", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  using old = new DatabaseSync(somewhere.path);
  const readers = [await getLock("a", { backend, shared: true }), await getLock("a", { backend, shared: true })];
  assert.throws(() => old.prepare(OLD_ACQUIRE).run("old", "a"), /CHECK constraint failed/);
  for (const reader of readers) assert.equal(await reader.verify(), true);
  for (const reader of readers) assert.equal(await reader.unlock(), true);
  assert.equal(old.prepare(OLD_ACQUIRE).run("old", "a").changes, 1);
});
