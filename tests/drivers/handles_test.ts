/**
 * Database handles that a program has already, accepted by their shape.
 *
 * @module
 */
import { type Backend, getLock, isLocked, LockLost, setLock, tryLock, UnsupportedError } from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { type Driver, drivers } from "./drivers.ts";

/** Runs a test on a file of its own with two handles of the driver. */
function on(
  driver: Driver,
  name: string,
  run: (database: SqliteDatabase, backend: Backend, open: () => Promise<SqliteDatabase>) => Promise<void>,
): void {
  test(`${driver.name}: ${name}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
    const opened: SqliteDatabase[] = [];
    const open = async () => {
      const database = await driver.open(join(directory, "program.db"));
      opened.push(database);
      return database;
    };
    try {
      const database = await open();
      await using backend = await sqliteBackend(database);
      await run(database, backend, open);
    } finally {
      for (const database of opened) database.close();
      await rm(directory, { recursive: true });
    }
  });
}

/** A setting of the handle. */
function setting(database: SqliteDatabase, name: string): number {
  return Number(Object.values(database.prepare(`PRAGMA ${name}`).get() as object)[0]);
}

for (const driver of drivers) {
  on(driver, "takes, refuses and frees a lock", async (_database, backend) => {
    const lock = await getLock("jobs", { backend, metadata: { shard: 7 }, lockProcess: 71, expires: 86_400 });
    assert(lock.token > 1_700_000_000_000_000n);
    assert.equal(await tryLock("jobs", { backend }), undefined);
    assert.deepEqual((await lock.refresh()).metadata, { shard: 7 });
    assert.equal(lock.lockProcess, 71);
    await lock.renew({ expires: 2 * 86_400 });
    assert(await lock.verify());
    assert.equal(await lock.unlock(), true);
    assert.equal(await lock.unlock(), false);
    const again = await getLock("jobs", { backend, expires: 0 });
    assert.equal(again.lockedUntil, null);
    assert(again.token > lock.token);
  });

  on(driver, "many names are taken and released together", async (_database, backend) => {
    const names = Array.from({ length: 50 }, (_, index) => `job ${index}`);
    await getLock(names[7], { backend });
    for (let round = 0; round < 2; round++) {
      const locks = await Promise.all(names.map((name) => tryLock(name, { backend, metadata: [name], expires: 60 })));
      assert.deepEqual(locks.map((lock) => lock === undefined), names.map((_, index) => index === 7));
      assert.deepEqual((await locks[49]!.refresh()).metadata, [names[49]]);
      assert.deepEqual(
        await Promise.all(locks.map((lock) => lock?.unlock() ?? false)),
        names.map((_, index) => index !== 7),
      );
    }
    const { counts } = await setLock([...names, ...names], { backend });
    assert.deepEqual(counts, { created: 49, renewed: 51, skipCreate: 0, skipRenew: 0 });
  });

  on(driver, "an answer about several releases says which locks were held", async (_database, backend) => {
    const request = { duration: 60e6, lockedBy: "host-a", lockProcess: null, metadata: null, limit: 1 };
    const [one, two] = [{ name: "one", owner: "o" }, { name: "two", owner: "t" }];
    await backend.acquire([one, two].map((claim) => ({ ...request, ...claim })));
    const crossed = [{ ...one, owner: two.owner }, { ...two, owner: one.owner }];
    assert.deepEqual(await backend.release(crossed), [false, false]);
    assert.deepEqual(await backend.release([one, { name: "three", owner: "o" }]), [true, false]);
    assert.deepEqual(await backend.release([one, two]), [false, true]);
    assert.deepEqual(await backend.list({}), []);
  });

  on(driver, "two handles exclude each other, and one waits for the other", async (_database, backend, open) => {
    await using other = await sqliteBackend(await open());
    const first = await getLock("jobs", { backend });
    assert.equal(await tryLock("jobs", { backend: other }), undefined);
    const waiting = later(getLock("jobs", { backend: other, wait: 30 }));
    assert(await isLocked("jobs", { backend: other }));
    await first.unlock();
    const second = await waiting;
    assert(second.token > first.token);
  });

  on(driver, "the handle's own settings are as they were", async (database, backend) => {
    database.exec("PRAGMA busy_timeout = 1234; PRAGMA synchronous = EXTRA");
    const lock = await getLock("jobs", { backend });
    await lock.unlock();
    assert.equal(setting(database, "busy_timeout"), 1234);
    assert.equal(setting(database, "synchronous"), 3);
  });

  on(driver, "the handle stays open when the backend is disposed of", async (database, backend) => {
    await getLock("jobs", { backend });
    await backend[Symbol.asyncDispose]();
    assert.equal(setting(database, "user_version"), 0);
  });

  on(driver, "a lock is not written inside the program's own transaction", async (database, backend) => {
    database.exec("BEGIN");
    await assert.rejects(getLock("jobs", { backend }), UnsupportedError);
    database.exec("ROLLBACK");
    assert(await getLock("jobs", { backend }));
  });

  on(driver, "a lock is guarded in the program's own transaction", async (database, backend, open) => {
    await using other = await sqliteBackend(await open(), { busyTimeout: 0 });
    const lock = await getLock("jobs", { backend });
    await assert.rejects(lock.guard(database), /no transaction is open/);
    await assert.rejects(lock.guard({}), TypeError);
    database.exec("BEGIN");
    await lock.guard(database);
    await assert.rejects(other.release([{ name: "jobs", owner: null }]), /another process keeps it locked/);
    database.exec("COMMIT");
    await other.release([{ name: "jobs", owner: null }]);
    database.exec("BEGIN");
    await assert.rejects(lock.guard(database), LockLost);
    database.exec("ROLLBACK");
  });

  on(driver, "a synchronous transaction is guarded before it commits", async (database, backend) => {
    database.exec("CREATE TABLE ledger (writer TEXT)");
    const written = () => database.prepare("SELECT writer FROM ledger").all().length;
    const transaction = (body: () => void) => {
      database.exec("BEGIN IMMEDIATE");
      try {
        body();
        database.exec("COMMIT");
      } catch (error) {
        database.exec("ROLLBACK");
        throw error;
      }
    };
    const lock = await getLock("jobs", { backend });
    assert.throws(() => lock.guardSync(database), /no transaction is open/);
    assert.throws(() => lock.guardSync({}), TypeError);
    transaction(() => {
      database.exec("INSERT INTO ledger VALUES ('holder')");
      lock.guardSync(database);
    });
    assert.equal(written(), 1);
    let late: Promise<void> | undefined;
    transaction(() => {
      late = lock.guard(database);
    });
    await assert.rejects(late!, /want guardSync/);
    await backend.release([{ name: "jobs", owner: null }]);
    assert.throws(() =>
      transaction(() => {
        database.exec("INSERT INTO ledger VALUES ('stale')");
        lock.guardSync(database);
      }), LockLost);
    assert.equal(written(), 1);
    assert.equal(lock.held, false);
  });

  on(driver, "a transaction is guarded through a function", async (database, backend) => {
    const execute = (text: string, parameters: unknown[]) => Promise.resolve(database.prepare(text).all(...parameters));
    const isDeferred = () => setting(database, "defer_foreign_keys");
    const lock = await getLock("jobs", { backend });
    await assert.rejects(lock.guard(execute), /no transaction is open/);
    assert.equal(isDeferred(), 0);
    database.exec("BEGIN");
    await lock.guard(execute);
    assert.equal(isDeferred(), 0);
    database.exec("COMMIT");
    await backend.release([{ name: "jobs", owner: null }]);
    database.exec("BEGIN");
    await assert.rejects(lock.guard(execute), LockLost);
    database.exec("ROLLBACK");
  });
}

test("what is no database is refused", async () => {
  for (const wrong of [undefined, null, 7, {}, { exec: 1, prepare: 2 }]) {
    await assert.rejects(sqliteBackend(wrong as unknown as string), TypeError);
  }
});
