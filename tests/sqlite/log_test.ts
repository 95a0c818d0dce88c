/**
 * The write-ahead log: how long it gets, and what is on the disk when a request is answered.
 *
 * @module
 */
import { type Backend, connect, getLock, renewLock, unlock } from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { place } from "./place.ts";

const MIB = 1024 * 1024;

test("sqlite: a log that a reader made long is cut when the reader has left", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await getLock("a", { backend });
  const size = async () => (await stat(`${somewhere.path}-wal`)).size;
  {
    using reader = new DatabaseSync(somewhere.path);
    reader.exec("BEGIN; SELECT count(*) FROM lockmgr_locks");
    const metadata = "x".repeat(MIB);
    for (let index = 0; index < 12; index++) await (await getLock("long", { backend, metadata })).unlock();
    assert(await size() > 10 * MIB);
  }
  for (let index = 0; index < 3; index++) {
    await (await getLock("b", { backend, expires: 600 })).unlock();
  }
  assert(await size() <= 4 * MIB, `${await size()} bytes`);
});

/** A handle that notes for each commit how durable it was, and whether it changed a row. */
function noting(database: DatabaseSync): { handle: SqliteDatabase; commits: string[] } {
  const commits: string[] = [];
  const value = (sql: string) => Number(Object.values(database.prepare(sql).get()!)[0]);
  let before = 0;
  const handle = {
    exec: (sql: string) => database.exec(sql),
    prepare(sql: string) {
      const statement = database.prepare(sql);
      return {
        get: (...parameters: never[]) => statement.get(...parameters),
        all: (...parameters: never[]) => statement.all(...parameters),
        run(...parameters: never[]) {
          const changes = value("SELECT total_changes()");
          if (sql === "BEGIN IMMEDIATE") before = changes;
          if (sql === "COMMIT" && changes > before) commits.push(value("PRAGMA synchronous") >= 2 ? "durable" : "lazy");
          return statement.run(...parameters);
        },
      };
    },
    close: () => database.close(),
    get isTransaction() {
      return database.isTransaction;
    },
  };
  return { handle: handle as unknown as SqliteDatabase, commits };
}

test("sqlite: a release is durable unless the lock would expire soon anyway", async () => {
  await using somewhere = await place();
  using database = new DatabaseSync(somewhere.path);
  database.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF");
  const { handle, commits } = noting(database);
  await using backend = await sqliteBackend(handle);
  const take = (name: string, expires: number) => getLock(name, { backend, expires });
  const cases: [what: string, durability: string[], run: (backend: Backend) => Promise<unknown>][] = [
    ["10 minutes", ["lazy"], async () => (await take("a", 600)).unlock()],
    ["15 minutes and a bit", ["durable"], async () => (await take("a", 930)).unlock()],
    ["no expiry", ["durable"], async () => (await take("a", 0)).unlock()],
    ["no expiry, by name", ["durable"], async () => (await take("a", 0), unlock("a", { backend }))],
    ["10 minutes, by name", ["lazy"], async () => (await take("a", 600), unlock("a", { backend }))],
    ["renewed for hours", ["durable"], async () => {
      const lock = await take("a", 600);
      await renewLock("a", { backend, expires: 7200 });
      await lock.unlock();
    }],
    ["many of 10 minutes", ["lazy"], async () => {
      const locks = await Promise.all(["a", "b", "c"].map((name) => take(name, 600)));
      assert.deepEqual(await backend.release(await claims(locks.map(({ name }) => name))), [true, true, true]);
    }],
    ["many without expiry", ["durable"], async () => {
      await Promise.all(["a", "b", "c"].map((name) => take(name, 0)));
      assert.deepEqual(await backend.release(await claims(["a", "b", "c"])), [true, true, true]);
    }],
    ["one of each kind", ["durable"], async () => {
      await Promise.all([take("a", 600), take("b", 0)]);
      assert.deepEqual(await backend.release([...await claims(["a", "b"]), { name: "c", owner: "gone" }]), [
        true,
        true,
        false,
      ]);
    }],
  ];
  async function claims(names: string[]) {
    const select = database.prepare("SELECT owner FROM lockmgr_locks WHERE name = ?");
    await Promise.resolve();
    return names.map((name) => ({ name, owner: String(select.get(name)!.owner) }));
  }
  for (const [what, durability, run] of cases) {
    await run(backend);
    assert.deepEqual(commits.slice(-durability.length), durability, what);
    commits.length = 0;
  }
});
