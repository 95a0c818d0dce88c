/**
 * One database file and one table under several spellings.
 *
 * @module
 */
import { type Backend, connect, getLock, tryLock } from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { mkdir, symlink } from "node:fs/promises";
import { join, relative } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { test } from "../harness.ts";
import { start } from "../processes/spawn.ts";
import { place } from "./place.ts";

/** Makes sure that two backends share one table: they exclude each other, and a release wakes the other one's waiter. */
async function sameTable(one: Backend, two: Backend, what: string): Promise<void> {
  for (const [holder, other] of [[one, two], [two, one]]) {
    const lock = await getLock("a", { backend: holder });
    assert.equal(await tryLock("a", { backend: other }), undefined, what);
    const waiting = getLock("a", { backend: other, wait: 60 });
    await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 5))]); // the wait is under way
    const since = performance.now();
    await lock.unlock();
    const granted = await waiting;
    const took = performance.now() - since;
    assert(took < 5_000, `${what}: granted after ${took} ms`);
    assert(granted.token > lock.token, what);
    await granted.unlock();
  }
}

/** A path in every spelling, with what makes the links there are. */
async function spellings(directory: string): Promise<string[]> {
  const path = join(directory, "locks.db");
  await mkdir(join(directory, "below"));
  await symlink(path, join(directory, "link.db"));
  await symlink("link.db", join(directory, "link of a link.db"));
  await symlink(directory, join(directory, "folder"));
  return [
    path,
    relative(process.cwd(), path),
    `./${relative(process.cwd(), path)}`,
    `${directory}/below/../locks.db`,
    `${directory}//./locks.db`,
    `sqlite:${path}`,
    pathToFileURL(path).href,
    join(directory, "link.db"),
    join(directory, "link of a link.db"),
    join(directory, "folder", "locks.db"),
    join(directory, "folder", "link.db"),
  ];
}

test("sqlite: a file is the same under every path that leads to it", async () => {
  await using somewhere = await place();
  const paths = await spellings(somewhere.directory);
  for (const first of [paths[0], paths.at(-1)!]) {
    await using one = await connect(first);
    for (const path of paths) {
      await using two = await connect(path);
      await sameTable(one, two, `${first} and ${path}`);
    }
  }
});

test("sqlite: a file that a link leads to is made where it leads", async () => {
  for (const link of ["link.db", "link of a link.db", "folder/locks.db", "folder/link.db"]) {
    await using somewhere = await place();
    await spellings(somewhere.directory);
    await using one = await connect(join(somewhere.directory, link));
    await using two = await connect(somewhere.path);
    await sameTable(one, two, link);
  }
});

test("sqlite: a table is the same in upper and lower case, with and without its schema", async () => {
  await using somewhere = await place();
  await using one = await connect(somewhere.path, { table: "my_locks" });
  for (const table of ["my_locks", "MY_LOCKS", "main.my_locks", "Main.My_Locks"]) {
    await using two = await connect(somewhere.path, { table });
    await sameTable(one, two, table);
  }
});

test("sqlite: a table of an attached database is the same with and without its schema", async () => {
  await using somewhere = await place();
  await using whole = await connect(somewhere.path);
  await (await getLock("a", { backend: whole })).unlock();
  using database = new DatabaseSync(join(somewhere.directory, "main.db"));
  using other = new DatabaseSync(":memory:");
  for (const handle of [database, other]) {
    handle.exec(`ATTACH '${somewhere.path}' AS elsewhere`);
    for (const table of ["lockmgr_locks", "elsewhere.lockmgr_locks", "ELSEWHERE.LOCKMGR_LOCKS"]) {
      await using two = await sqliteBackend(handle as SqliteDatabase, { table, migrate: false });
      await sameTable(whole, two, table);
    }
  }
});

test("sqlite: settings are looked at and kept where the table is", async () => {
  await using somewhere = await place();
  {
    await using maker = await connect(somewhere.path);
    await (await getLock("a", { backend: maker })).unlock();
  }
  using database = new DatabaseSync(":memory:");
  database.exec(
    `ATTACH '${somewhere.path}' AS "else ""where"; PRAGMA main.journal_mode = OFF; PRAGMA main.synchronous = OFF;
    PRAGMA "else ""where".synchronous = NORMAL`,
  );
  const setting = (name: string) => Object.values(database.prepare(`PRAGMA ${name}`).get()!)[0];
  await using two = await sqliteBackend(database as SqliteDatabase);
  const lock = await getLock("a", { backend: two });
  assert.equal(setting("synchronous"), 0);
  assert.equal(setting('"else ""where".synchronous'), 1);
  assert.equal((await two.diagnose!()).find(({ what }) => what === "journal")?.detail, 'mode "wal"');
  await using one = await connect(somewhere.path);
  assert.equal(await tryLock("a", { backend: one }), undefined);
  await lock.unlock();
  database.exec('DETACH "else ""where"');
});

test("sqlite: a process that names the file and the table differently excludes and is woken", async () => {
  await using somewhere = await place();
  const paths = await spellings(somewhere.directory);
  const link = join(somewhere.directory, "folder", "link.db");
  assert(paths.includes(link));
  await using backend = await connect(somewhere.path, { table: "MY_LOCKS" });
  const lock = await getLock("a", { backend });
  await using waiter = start("tests/processes/waiter.ts", [
    `sqlite:${encodeURI(link)}?lockmgr_table=main.my_locks`,
    "a",
  ]);
  assert.deepEqual(await waiter.next(), { free: false });
  const since = performance.now();
  await lock.unlock();
  const { token } = await waiter.next<{ token: string }>();
  const took = performance.now() - since;
  assert(took < 5_000, `granted after ${took} ms`);
  assert(BigInt(token) > lock.token);
  assert.equal(await waiter.ended, 0);
});
