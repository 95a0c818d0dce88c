import { BackendError, connect, getLock, isLocked, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { place } from "./place.ts";

test("sqlite: while another process has the write lock the event loop turns, and the lock comes afterwards", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await isLocked("a", { backend });
  using database = new DatabaseSync(somewhere.path);
  database.exec("BEGIN IMMEDIATE");
  let granted = false;
  const lock = later(getLock("a", { backend }).then((lock) => (granted = true, lock)));
  let turns = 0;
  let longest = 0;
  for (let last = performance.now(); turns < 50; turns++) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }
  assert.equal(granted, false);
  assert(longest < 2_500, `the event loop stood for ${longest} ms`); // waiting in SQLite would take the whole 5 s
  database.exec("COMMIT");
  assert((await lock).held);
});

test("sqlite: nothing is under way after a disposal, although another process has the write lock", async () => {
  await using somewhere = await place();
  const backend = await connect(somewhere.path);
  await isLocked("a", { backend });
  using database = new DatabaseSync(somewhere.path);
  database.exec("BEGIN IMMEDIATE");
  let underWay = true;
  backend.clean("all").catch(() => {}).finally(() => underWay = false);
  await backend[Symbol.asyncDispose]();
  assert.equal(underWay, false);
});

test("sqlite: a file that stays locked is a retryable error, not a busy lock", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path, { busyTimeout: 0.05 });
  await isLocked("a", { backend });
  using database = new DatabaseSync(somewhere.path);
  database.exec("BEGIN IMMEDIATE");
  await assert.rejects(tryLock("a", { backend }), (error) => {
    assert(error instanceof BackendError);
    assert.equal(error.retryable, true);
    assert.match(error.message, /^Cannot acquire lock "a": another process keeps it locked$/);
    assert((error.cause as Error).message.includes("locked"));
    return true;
  });
  database.exec("COMMIT");
  assert((await getLock("a", { backend })).held);
});

test("sqlite: a failed try writes nothing, not even a lock on the file", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path, { busyTimeout: 0 });
  await getLock("a", { backend });
  using database = new DatabaseSync(somewhere.path);
  const version = () => database.prepare("PRAGMA data_version").get()!.data_version;
  const before = version();
  for (let index = 0; index < 10; index++) assert.equal(await tryLock("a", { backend }), undefined);
  assert.equal(version(), before);
  database.exec("BEGIN IMMEDIATE");
  assert.equal(await tryLock("a", { backend }), undefined);
  database.exec("ROLLBACK");
});

test("sqlite: a process that only has open backends ends by itself", async () => {
  await using somewhere = await place();
  const { run } = await import("../processes/spawn.ts");
  const { code, output } = await run("tests/processes/exits_without_closing.ts", [somewhere.path]);
  assert.equal(output.trim(), "held");
  assert.equal(code, 0);
});
