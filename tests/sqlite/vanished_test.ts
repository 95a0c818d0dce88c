/**
 * Files that are removed, replaced or cut off while locks in them are held: the loss is signalled, and nothing is
 * granted in a file that no other client opens.
 *
 * @module
 */
import { BackendError, connect, getLock, isLocked, listLocks, type Lock, LockLost, tryLock } from "@lockmgr/lockmgr";
import { resetLocks, withLock } from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { copyFile, mkdir, rename, rm, symlink, truncate } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { place } from "./place.ts";

/** What may happen to a file, the directory of which is `directory`. */
const MISHAPS: Record<string, (path: string, directory: string) => Promise<void>> = {
  "is removed": async (path) => {
    for (const side of ["", "-wal", "-shm"]) await rm(path + side);
  },
  "alone is removed": (path) => rm(path),
  "is renamed": (path) => rename(path, `${path}.old`),
  "is replaced by a copy": async (path) => {
    await copyFile(path, `${path}.backup`);
    await rename(`${path}.backup`, path);
  },
  "loses its directory": (_path, directory) => rename(directory, `${directory}-old`),
  "is in a directory that is replaced": async (_path, directory) => {
    await rename(directory, `${directory}-old`);
    await mkdir(directory);
  },
  "loses its log and index": async (path) => {
    for (const side of ["-wal", "-shm"]) await rm(path + side);
  },
  "loses its log": (path) => rm(`${path}-wal`),
  "loses its index": (path) => rm(`${path}-shm`),
  "is truncated": (path) => truncate(path, 0),
};

/** Releases check the files, and acquisitions the log, again when the last check is older than this (ms). */
const RECENT_MS = 2;

async function recentChecksAreOver(): Promise<void> {
  for (const until = performance.now() + RECENT_MS; performance.now() < until;) {
    await new Promise((resolve) => setTimeout(resolve, RECENT_MS));
  }
}

const SAYS =
  /^Cannot .*: the database file ".*locks\.db" (was removed or renamed|was replaced by another|was truncated|lost its "-(wal|shm)" file) while it was open, and locks taken through it are lost; open a new backend$/;

function refuses(error: unknown): boolean {
  assert(error instanceof BackendError, String(error));
  assert.match(error.message, SAYS);
  assert.equal(error.retryable, false);
  return true;
}

/** Resolves when the signal aborts. */
function aborted(signal: AbortSignal): Promise<unknown> {
  const alive = setInterval(() => {}, 1_000);
  return new Promise<unknown>((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    else signal.addEventListener("abort", () => resolve(signal.reason), { once: true });
  }).finally(() => clearInterval(alive));
}

/** Everything that a handle and a backend do after the mishap. */
const NOTICES: Record<string, (lock: Lock) => Promise<void>> = {
  "an acquisition": (lock) => assert.rejects(getLock("other", { backend: lock.backend }), refuses),
  "a failed try": (lock) => assert.rejects(tryLock("jobs", { backend: lock.backend }), refuses),
  "a renewal": (lock) => assert.rejects(lock.renew(), LockLost),
  "a look": async (lock) => assert.equal(await lock.verify(), false),
  "a refresh": (lock) => assert.rejects(lock.refresh(), LockLost),
  "a release": async (lock) => assert.equal(await lock.unlock(), false),
  "a waiter": (lock) => assert.rejects(getLock("jobs", { backend: lock.backend, wait: Infinity }), refuses),
  "time": async (lock) => {
    await aborted(lock.signal);
  },
};

/** Another client opens the database and closes it again. */
async function comeAndGo(path: string): Promise<void> {
  const other = await connect(path).catch(() => undefined);
  if (other) await isLocked("jobs", { backend: other }).catch(() => {});
  await other?.[Symbol.asyncDispose]();
}

/** Tries one mishap with one way to notice it. */
async function suffer(mishap: string, notice: string, open: (path: string) => Promise<SqliteDatabase | string>) {
  await using somewhere = await place();
  const directory = join(somewhere.directory, "state");
  await mkdir(directory);
  const path = join(directory, "locks.db");
  const target = await open(path);
  {
    await using backend = await sqliteBackend(target);
    const lock = await getLock("jobs", { backend, expires: 0 });
    const { signal } = lock;
    await MISHAPS[mishap](path, directory);
    if (/log|index/.test(mishap) || notice === "a release") await recentChecksAreOver();
    if (/log|index/.test(mishap)) await comeAndGo(path); // as the client that would not see our lock
    await NOTICES[notice](lock);
    assert.equal(lock.held, false);
    assert(signal.aborted && signal.reason instanceof LockLost);
    assert.match(
      signal.reason.message,
      /^Cannot keep lock "jobs": (the database file ".*" (was|lost) .*while it was open|it was gone when it was to be released)$/,
    );
    assert.equal(await lock.verify(), false);
    assert.equal(await lock.unlock(), false);
    for (
      const request of [() => getLock("b", { backend }), () => listLocks({ backend }), () => resetLocks({ backend })]
    ) {
      await assert.rejects(request as () => Promise<unknown>, refuses);
    }
  }
  if (typeof target !== "string") target.close();
}

for (const mishap of Object.keys(MISHAPS)) {
  test(`sqlite: a file that ${mishap} while locks are held: they are lost, and nothing more is granted`, async () => {
    for (const notice of Object.keys(NOTICES)) {
      if (notice === "time" && mishap !== "is removed") continue;
      await suffer(mishap, notice, (path) => Promise.resolve(path));
    }
  });
}

test("sqlite: the file of a program's handle that is removed or replaced is noticed as well", async () => {
  for (const mode of ["WAL", "DELETE"]) {
    for (const mishap of ["alone is removed", "is replaced by a copy"]) {
      for (const notice of ["an acquisition", "a renewal", "a look"]) {
        await suffer(mishap, notice, (path) => {
          const database = new DatabaseSync(path);
          database.exec(`PRAGMA journal_mode = ${mode}`);
          return Promise.resolve(database as SqliteDatabase);
        });
      }
    }
  }
});

test("sqlite: a link that leads to another file now is a file that was replaced", async () => {
  await using somewhere = await place();
  const [one, two] = ["one.db", "two.db"].map((name) => join(somewhere.directory, name));
  for (const target of [one, two]) await (await connect(target))[Symbol.asyncDispose]();
  await symlink(one, somewhere.path);
  await using backend = await connect(somewhere.path);
  const lock = await getLock("jobs", { backend });
  assert(await lock.verify());
  await symlink(two, `${somewhere.path}.new`);
  await rename(`${somewhere.path}.new`, somewhere.path);
  assert.equal(await lock.verify(), false);
  await using other = await connect(somewhere.path);
  assert(await getLock("jobs", { backend: other }));
});

test("sqlite: a new backend uses the new file, and withLock says that the lock was lost", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  await using other = await connect(somewhere.path);
  await getLock("jobs", { backend: other });
  const body = async (lock: Lock) => {
    await MISHAPS["is removed"](somewhere.path, somewhere.directory);
    await using fresh = await connect(somewhere.path);
    assert(await getLock("work", { backend: fresh }));
    await aborted(lock.signal);
  };
  await assert.rejects(withLock("work", { backend, expires: 600 }, body), LockLost);
  await assert.rejects(getLock("jobs", { backend: other, wait: 5 }), refuses);
});

test("sqlite: clients that come and go, checkpoints and VACUUM leave the file the same", async () => {
  await using somewhere = await place();
  await using backend = await connect(somewhere.path);
  const lock = await getLock("jobs", { backend });
  for (let round = 0; round < 3; round++) {
    {
      await using other = await connect(somewhere.path);
      assert(await isLocked("jobs", { backend: other }));
    }
    using database = new DatabaseSync(somewhere.path);
    for (const mode of ["PASSIVE", "FULL", "RESTART", "TRUNCATE"]) database.exec(`PRAGMA wal_checkpoint(${mode})`);
    database.exec("VACUUM");
    assert.throws(() => {
      if (database.prepare("PRAGMA journal_mode = DELETE").get()!.journal_mode === "wal") throw new Error("still wal");
    });
    assert(await lock.verify());
  }
});

test("sqlite: a program may change the journal of its own handle", async () => {
  await using somewhere = await place();
  using database = new DatabaseSync(somewhere.path);
  database.exec("PRAGMA journal_mode = WAL");
  await using backend = await sqliteBackend(database as SqliteDatabase);
  const lock = await getLock("jobs", { backend });
  assert(await lock.verify());
  for (const mode of ["DELETE", "WAL", "TRUNCATE", "WAL"]) {
    database.exec(`PRAGMA journal_mode = ${mode}`);
    assert(await lock.verify(), mode);
    await lock.renew();
  }
});
