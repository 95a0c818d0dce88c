/**
 * A table of the version before queues: it is upgraded while its locks are held, and its clients are refused where they
 * would give away a name that others wait for.
 *
 * @module
 */
import { getLock, listLocks, schemaOf, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createConnection, createPool } from "mysql2/promise";
import { later } from "../conformance/case.ts";
import { onEach, type Place, until } from "./flavors.ts";

/** By then three statements of other programs are answered that meet an upgrade (ms). */
const UPGRADING_MS = 6_000;

const OLD_SCHEMA = `
  CREATE TABLE lockmgr_locks (
    name VARBINARY(1020) NOT NULL PRIMARY KEY, owner VARBINARY(64) NOT NULL, token BIGINT NOT NULL,
    locked_by VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, lock_process BIGINT, locked_until BIGINT,
    created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL,
    metadata LONGTEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, session VARBINARY(64), connection_id BIGINT,
    listed TINYINT NOT NULL DEFAULT 1, INDEX listed (listed, name)
  ) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`;
const OLD_LOCK = `
  INSERT INTO lockmgr_locks VALUES ('held', 'old', 5, 'host-a', 7, NULL, 1, 1, '{}', NULL, NULL, 1)`;

/** What a client of that version sends to release a lock, and to acquire one that has expired. */
const OLD_RELEASE = "UPDATE lockmgr_locks SET locked_until = 0, listed = 0 WHERE name = 'held' AND owner = 'old'";
const OLD_ACQUIRE = "UPDATE lockmgr_locks SET owner = 'new' WHERE name = 'a'";

async function printedUpgrade(): Promise<string> {
  const printed = await schemaOf("mysql://localhost/locks");
  const lines = printed.slice(printed.indexOf("-- A table")).split("\n").slice(1).map((line) => line.slice(3));
  return lines.join("\n");
}

onEach("a table of the version before queues is upgraded, and its locks stay held", async (place: Place) => {
  await place.ask(OLD_SCHEMA, OLD_LOCK);
  await assert.rejects(place.backend({ migrate: false }), /is of an earlier version, and "migrate" is off/);
  const [one, two] = await Promise.all([place.backend(), place.backend()]);
  const [first, second] = await Promise.all([one, two].map((backend) => tryLock("held", { backend })));
  assert.deepEqual([first, second], [undefined, undefined]);
  const [record] = await listLocks({ backend: one });
  assert.deepEqual([record.token, record.limit, record.waiters], [5n, 1, 0]);
  await place.ask(OLD_RELEASE);
  assert((await getLock("held", { backend: await place.backend({ migrate: false }) })).token > 5n);
});

onEach("`schema` prints what upgrades a table of the version before queues", async (place: Place) => {
  await place.ask(OLD_SCHEMA, OLD_LOCK, await printedUpgrade());
  const backend = await place.backend({ migrate: false });
  assert.equal((await listLocks({ backend })).length, 1);
  assert((await getLock("shared", { backend, shared: true })).held);
});

onEach("a client of the version before queues cannot give away a name with a queue", async (place: Place) => {
  const backend = await place.backend();
  const readers = [await getLock("a", { backend, shared: true }), await getLock("a", { backend, shared: true })];
  await assert.rejects(place.ask(OLD_ACQUIRE), /CONSTRAINT|constraint/);
  for (const reader of readers) assert.equal(await reader.verify(), true);
  for (const reader of readers) assert.equal(await reader.unlock(), true);
  await place.ask(OLD_ACQUIRE);
});

/** Statements that wait until a transaction that uses the table has ended. */
const WAITING = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock'";

onEach(
  "while a transaction has the table open, its upgrade lets other programs use the table",
  async (place: Place) => {
    await place.ask(OLD_SCHEMA, OLD_LOCK);
    await using transaction = await createConnection(place.url);
    await transaction.query("START TRANSACTION");
    await transaction.query("SELECT * FROM lockmgr_locks");
    const upgrading = later(place.backend());
    await until("the upgrade waits", async () => (await place.ask(WAITING)).length > 0);
    const startedAt = performance.now();
    for (let uses = 0; uses < 3; uses++) {
      await place.ask("UPDATE lockmgr_locks SET updated_at = updated_at + 1");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert(performance.now() - startedAt < UPGRADING_MS);
    await transaction.query("COMMIT");
    assert.equal(await tryLock("held", { backend: await upgrading }), undefined);
  },
);

onEach("an upgrade that another transaction does not let through is an error that says so", async (place: Place) => {
  await place.ask(OLD_SCHEMA, OLD_LOCK);
  await using transaction = await createConnection(place.url);
  await transaction.query("START TRANSACTION");
  await transaction.query("SELECT * FROM lockmgr_locks");
  await assert.rejects(place.backend(), {
    name: "BackendError",
    retryable: true,
    message: /^Cannot upgrade table "lockmgr_locks": another transaction uses it/,
  });
  assert.equal((await place.ask(WAITING)).length, 0);
});

onEach("a table that is seen half while another client upgrades it is looked at again", async (place: Place) => {
  await using _first = await place.backend();
  const pool = createPool({ uri: place.url, rowsAsArray: true });
  await using _ = { [Symbol.asyncDispose]: () => pool.end() };
  for (const isSeen of [() => false, ([name]: unknown[]) => !String(name).startsWith("index ")]) {
    let looks = 0;
    const backend = await mysqlBackend(async (sql) => {
      const [rows] = await pool.query(sql);
      return sql.includes("information_schema.statistics") && looks++ === 0
        ? (rows as unknown[][]).filter(isSeen)
        : rows;
    }, { migrate: false });
    await using lock = await getLock("a", { backend });
    assert.deepEqual([lock.held, looks], [true, 2]);
    await backend[Symbol.asyncDispose]();
  }
});
