import { getLock, isLocked, LockLost, tryLock, unlock, UnsupportedError } from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { place } from "./place.ts";

/** A driver's handle on a file. */
type Opener = (path: string) => SqliteDatabase;

/** The handles that this runtime can have, by their drivers' names. */
async function openers(): Promise<Map<string, Opener>> {
  const found = new Map<string, Opener>([["node:sqlite", (path) => new DatabaseSync(path)]]);
  const others = ["bun:sqlite", "better-sqlite3", "libsql"];
  for (const name of others) {
    try {
      const driver = await import(name);
      const Database = driver.Database ?? driver.default;
      new Database(":memory:").close();
      found.set(name, (path) => new Database(path));
    } catch {
      // Not to be had on this runtime.
    }
  }
  return found;
}

for (const [driver, open] of await openers()) {
  test(`sqlite: a handle of ${driver} is used as it is and left open`, async () => {
    await using somewhere = await place();
    const database = open(somewhere.path);
    {
      await using backend = await sqliteBackend(database);
      const lock = await getLock("a", { backend, metadata: [1, "ü🔒"], lockProcess: 2 ** 40 });
      assert.equal(lock.lockProcess, 2 ** 40);
      assert.deepEqual(lock.metadata, [1, "ü🔒"]);
      assert(lock.token > 2n ** 50n);
      assert.equal(await tryLock("a", { backend }), undefined);
      await lock.renew({ expires: 900 });
      await lock.renew({ expires: 5, addTime: true });
      assert.equal((await backend.list({}))[0].token, lock.token);
      assert.equal(await lock.unlock(), true);
      assert((await getLock("a", { backend })).token > lock.token);
    }
    const row = database.prepare("SELECT count(*) AS n FROM lockmgr_locks").get() as { n: number };
    assert.equal(Number(row.n), 1);
    database.close();
  });

  test(`sqlite: the settings of a handle of ${driver} are put back`, async () => {
    await using somewhere = await place();
    const database = open(somewhere.path);
    database.exec("PRAGMA busy_timeout = 1234");
    database.exec("PRAGMA synchronous = OFF");
    await using backend = await sqliteBackend(database);
    await unlock(await getLock("a", { backend }));
    const setting = (name: string) => Number(Object.values(database.prepare(`PRAGMA ${name}`).get() as object)[0]);
    assert.equal(setting("busy_timeout"), 1234);
    assert.equal(setting("synchronous"), 0);
    assert.equal((database.prepare("PRAGMA journal_mode").get() as { journal_mode: string }).journal_mode, "delete");
    database.close();
  });

  test(`sqlite: a lock is never written inside an open transaction of ${driver}`, async () => {
    await using somewhere = await place();
    const database = open(somewhere.path);
    await using backend = await sqliteBackend(database);
    const lock = await getLock("before", { backend });
    database.exec("BEGIN");
    await assert.rejects(getLock("a", { backend }), (error) => {
      assert(error instanceof UnsupportedError);
      assert.match(error.message, /^Cannot acquire lock "a": a transaction of the caller's is open/);
      return true;
    });
    await assert.rejects(lock.unlock(), UnsupportedError);
    database.exec("ROLLBACK");
    assert.equal(await isLocked("a", { backend }), false);
    assert.equal(await lock.unlock(), true);
    database.close();
  });

  test(`sqlite: guard on a transaction of ${driver} keeps the lock from changing hands`, async () => {
    await using somewhere = await place();
    const database = open(somewhere.path);
    const other = open(somewhere.path); // of the same driver: two SQLite libraries in one process lock nothing out
    await using backend = await sqliteBackend(other, { busyTimeout: 0 });
    const lock = await getLock("a", { backend });
    await assert.rejects(lock.guard(database), /no transaction is open/);
    await assert.rejects(lock.guard({}), TypeError);
    database.exec("BEGIN IMMEDIATE");
    await lock.guard(database);
    await assert.rejects(unlock("a", { backend }), /another process keeps it locked/);
    database.exec("COMMIT");
    assert.equal(await unlock("a", { backend }), true);
    const next = await getLock("a", { backend });
    database.exec("BEGIN IMMEDIATE");
    await assert.rejects(lock.guard(database), LockLost);
    await next.guard(database);
    database.exec("COMMIT");
    assert(lock.signal.aborted);
    database.close();
    other.close();
  });
}

test("sqlite: what is no database is refused", async () => {
  for (const wrong of [undefined, null, 7, {}, { exec: 1, prepare: 2 }]) {
    await assert.rejects(sqliteBackend(wrong as unknown as string), TypeError);
  }
});
