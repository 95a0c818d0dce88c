import { BackendError, connect, getLock, isLocked, listLocks, tryLock, UnsupportedError } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { startUnprivileged } from "../processes/spawn.ts";
import { place } from "./place.ts";

/** Connects and takes a lock. */
async function take(target: string, options: Record<string, unknown> = {}): Promise<void> {
  await using backend = await connect(target, options);
  await getLock("a", { backend });
}

function backendError(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof BackendError, String(error));
    assert.match(error.message, pattern);
    assert.doesNotMatch(error.message, /\.$/);
    return true;
  };
}

test("sqlite: a path may be given in every way", async () => {
  await using somewhere = await place();
  const { path, directory } = somewhere;
  const strange = join(directory, "a b%20ü?.db");
  await using first = await connect(path);
  await getLock("a", { backend: first });
  for (const target of [`sqlite:${path}`, `sqlite://${path}`, new URL(`file://${path}`)]) {
    await using backend = await connect(target);
    assert.equal(await isLocked("a", { backend }), true, String(target));
  }
  await using bare = await connect(strange);
  await getLock("b", { backend: bare });
  await using encoded = await connect(`sqlite:${encodeURIComponent(strange)}`);
  assert.equal(await isLocked("b", { backend: encoded }), true);
});

test("sqlite: each in-memory database is its own", async () => {
  await using first = await connect("sqlite::memory:");
  await using second = await connect(":memory:");
  await getLock("a", { backend: first });
  assert.equal(await isLocked("a", { backend: second }), false);
});

test("sqlite: unknown schemes, options, modes and tables are refused before anything is opened", async () => {
  await using somewhere = await place();
  const { path, directory } = somewhere;
  const wrong: [string, Record<string, unknown>?][] = [
    ["redis://localhost/1"],
    ["http://example.org/"],
    [""],
    [`sqlite:${path}?lockmgr_mod=lease`],
    [`sqlite:${path}?driver=other`],
    [`sqlite:${path}?cache=shared`],
    [`sqlite:${path}?lockmgr_migrate=yes`],
    [path, { tabel: "x" }],
    [path, { mode: "leese" }],
    [path, { table: "a; DROP TABLE b" }],
    [path, { table: "" }],
    [path, { migrate: "no" }],
    [path, { driver: "sqlite4" }],
  ];
  for (const [target, options] of wrong) await assert.rejects(connect(target, options), TypeError, target);
  await assert.rejects(connect(path, { busyTimeout: -1 }), RangeError);
  await assert.rejects(connect(path, { mode: "session" }), UnsupportedError);
  await assert.rejects(connect(`sqlite:${path}?lockmgr_mode=hybrid`), /Cannot use "hybrid" mode on SQLite/);
  assert.deepEqual((await import("node:fs")).readdirSync(directory), []);
});

test("sqlite: a directory that does not exist is named, and not made", async () => {
  await using somewhere = await place();
  const directory = join(somewhere.directory, "no such");
  await assert.rejects(take(join(directory, "locks.db")), backendError(/directory ".*no such" does not exist/));
  assert.equal((await import("node:fs")).existsSync(directory), false);
});

test("sqlite: a directory in the place of the file is an error", async () => {
  await using somewhere = await place();
  await mkdir(join(somewhere.directory, "d.db"));
  await assert.rejects(take(join(somewhere.directory, "d.db")), backendError(/Cannot open database ".*d\.db": /));
});

test("sqlite: a file that is no database is left as it is", async () => {
  await using somewhere = await place();
  const { path } = somewhere;
  const text = "These are the minutes of the last meeting, and no database at all.\n".repeat(50);
  await writeFile(path, text);
  await assert.rejects(take(path), backendError(/not an SQLite database/));
  assert.equal(await readFile(path, "utf8"), text);
});

test("sqlite: a corrupt file is told of", async () => {
  await using somewhere = await place();
  const { path } = somewhere;
  {
    await using backend = await connect(path);
    for (let index = 0; index < 200; index++) await getLock(`name ${index}`, { backend, metadata: "x".repeat(200) });
  }
  const bytes = await readFile(path);
  bytes.fill(0xa5, 4096);
  await writeFile(path, bytes);
  const list = async () => {
    await using backend = await connect(path);
    await listLocks({ backend });
  };
  await assert.rejects(list(), backendError(/corrupt/));
  await truncate(path, 5000);
  await assert.rejects(take(path), BackendError);
});

test("sqlite: a full disk fails the acquisition, frees nothing and grants nothing", async () => {
  await using somewhere = await place();
  using database = new DatabaseSync(somewhere.path);
  database.exec("PRAGMA journal_mode = WAL");
  const { sqliteBackend } = await import("@lockmgr/lockmgr/sqlite");
  await using backend = await sqliteBackend(database);
  const lock = await getLock("a", { backend });
  const { page_count: pages } = database.prepare("PRAGMA page_count").get() as { page_count: number };
  database.exec(`PRAGMA max_page_count = ${pages}`);
  await assert.rejects(getLock("b", { backend, metadata: "x".repeat(100_000) }), backendError(/the disk is full/));
  assert.equal(await isLocked("b", { backend }), false);
  assert.equal(await lock.verify(), true);
  assert.equal(await lock.unlock(), true);
});

test("sqlite: a read-only database can be read, and says why it cannot be written", async () => {
  await using somewhere = await place();
  await using writer = await connect(somewhere.path);
  await getLock("a", { backend: writer });
  using database = new DatabaseSync(somewhere.path, { readOnly: true });
  const { sqliteBackend } = await import("@lockmgr/lockmgr/sqlite");
  await using backend = await sqliteBackend(database);
  assert.equal((await listLocks({ backend })).length, 1);
  assert.equal(await tryLock("a", { backend }), undefined);
  await assert.rejects(getLock("b", { backend }), backendError(/Cannot acquire lock "b": it is read-only/));
});

test("sqlite: a table of that name with other columns is left alone", async () => {
  await using somewhere = await place();
  using database = new DatabaseSync(somewhere.path);
  database.exec(
    "CREATE TABLE lockmgr_locks (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO lockmgr_locks VALUES (1, 'x')",
  );
  await assert.rejects(
    take(somewhere.path),
    backendError(/Cannot use table "lockmgr_locks": it has no column owner, /),
  );
  assert.equal(database.prepare("SELECT count(*) AS n FROM lockmgr_locks").get()!.n, 1);
  await take(somewhere.path, { table: "my_locks" });
});

test("sqlite: with migrate off no DDL is run", async () => {
  await using somewhere = await place();
  const { path } = somewhere;
  await assert.rejects(
    take(path, { migrate: false }),
    backendError(/table "lockmgr_locks" does not exist, and "migrate" is off/),
  );
  await take(path);
  await using backend = await connect(`sqlite:${path}?lockmgr_migrate=false`);
  assert((await tryLock("a", { backend }))?.held, "the first has released it when it was disposed of");
});

test("sqlite: many may make the table at once", async () => {
  await using somewhere = await place();
  const backends = await Promise.all(Array.from({ length: 8 }, () => connect(somewhere.path)));
  const locks = await Promise.all(backends.map((backend) => tryLock("a", { backend })));
  assert.equal(locks.filter(Boolean).length, 1);
  for (const backend of backends) await backend[Symbol.asyncDispose]();
});

test("sqlite: a table that was dropped is an error once, and made again by the next call", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await getLock("a", { backend });
  using database = new DatabaseSync(somewhere.path);
  database.exec("DROP TABLE lockmgr_locks");
  await assert.rejects(getLock("b", { backend }), backendError(/no such table/));
  assert((await getLock("b", { backend })).held);
});

test("sqlite: after disposal every call says so, waiters too", async () => {
  await using somewhere = await place();
  const backend = await connect(somewhere.path);
  await getLock("a", { backend });
  const waiter = getLock("a", { backend, wait: 60 });
  const told = assert.rejects(waiter, backendError(/the backend was disposed of/));
  await new Promise((resolve) => setTimeout(resolve, 0));
  await backend[Symbol.asyncDispose]();
  await backend[Symbol.asyncDispose]();
  await told;
  await assert.rejects(getLock("b", { backend }), backendError(/the backend was disposed of/));
});

test("sqlite: a driver that cannot be loaded says what to do", async () => {
  await using somewhere = await place();
  try {
    await using backend = await connect(`sqlite:${somewhere.path}?driver=@db/sqlite`);
    const lock = await getLock("a", { backend });
    assert(lock.token > 2n ** 32n);
    assert.equal(await lock.unlock(), true);
  } catch (error) {
    backendError(/Cannot load the driver "@db\/sqlite": run "deno add jsr:@db\/sqlite"/)(error);
  }
});

/** What a process that has to heed the permissions of files says when it takes a lock. */
async function saysUnprivileged(path: string): Promise<string> {
  await using taker = startUnprivileged("tests/processes/taker.ts", [path]);
  return (await taker.rest<string>()).join();
}

test("sqlite: files that may not be read are an error", async () => {
  await using somewhere = await place();
  await writeFile(somewhere.path, "");
  await chmod(somewhere.path, 0);
  assert.match(await saysUnprivileged(somewhere.path), /this user may not read the file ".*locks\.db"; every user/);
});

test("sqlite: a user who may not write is told which file or directory", async () => {
  await using somewhere = await place();
  const { path, directory } = somewhere;
  assert.equal(await saysUnprivileged(path), "taken");
  await chmod(directory, 0o555);
  const says = /this user may not create files in the directory ".*"; every user/;
  assert.match(await saysUnprivileged(path).finally(() => chmod(directory, 0o755)), says);
  await chmod(path, 0o444);
  assert.match(await saysUnprivileged(path), /this user may not write the file ".*locks\.db"; every user/);
});
