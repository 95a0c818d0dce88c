/**
 * Handles that a program has set up in its own way: right answers, or a refusal that names what is in the way.
 *
 * @module
 */
import { type Backend, BackendError, getLock, listLocks, renewLock, setLock, tryLock, unlock } from "@lockmgr/lockmgr";
import { UnsupportedError } from "@lockmgr/lockmgr";
import { sqliteBackend, type SqliteDatabase, type SqliteStatement } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";
import { changed, ofVersion } from "./stand_ins.ts";

/** Runs a test with a file of its own. */
async function withFile(run: (path: string) => Promise<void>): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  try {
    await run(join(directory, "program.db"));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** What any backend does, with names whose order and case are easily mistaken. */
async function works(backend: Backend): Promise<void> {
  const names = ["a", "A", "a ", "é", "\uffee", "\u{10400}", "ab%"];
  const locks = await Promise.all(names.map((name) => getLock(name, { backend, metadata: { name }, expires: 60 })));
  const listed = await listLocks({ backend });
  assert.deepEqual(listed.map(({ name }) => name), ["A", "a", "a ", "ab%", "é", "\uffee", "\u{10400}"]);
  assert.deepEqual(listed.map(({ metadata }) => metadata), listed.map(({ name }) => ({ name })));
  assert.deepEqual((await listLocks({ backend, prefix: "a" })).map(({ name }) => name), ["a", "a ", "ab%"]);
  assert.equal(await tryLock("a", { backend }), undefined);
  assert.equal((await renewLock("a", { backend, expires: 0 })).lockedUntil, null);
  assert(await locks[0].verify());
  assert.equal(await locks[0].unlock(), true);
  const again = await getLock("a", { backend });
  assert(again.token > locks[0].token);
  assert.equal((await setLock(names, { backend })).counts.renewed, names.length);
  for (const name of names) assert.equal(await unlock(name, { backend }), true);
  assert.deepEqual(await listLocks({ backend }), []);
}

/** Settings under which everything must be as ever. */
const HARMLESS = [
  ...["busy_timeout = 0", "synchronous = OFF", "locking_mode = EXCLUSIVE", "foreign_keys = ON", "cache_size = 0"],
  ...["recursive_triggers = ON", "case_sensitive_like = ON", "writable_schema = ON", "trusted_schema = OFF"],
  ...["encoding = 'UTF-16le'", "encoding = 'UTF-16be'", "full_column_names = ON; PRAGMA short_column_names = OFF"],
  ...["count_changes = ON", "reverse_unordered_selects = ON", "read_uncommitted = ON", "automatic_index = OFF"],
  ...["journal_mode = DELETE", "journal_mode = TRUNCATE", "journal_mode = PERSIST", "temp_store = MEMORY"],
  ...["legacy_alter_table = ON", "cell_size_check = ON", "secure_delete = ON", "auto_vacuum = FULL"],
  ...["ignore_check_constraints = ON", "empty_result_callbacks = ON", "defer_foreign_keys = ON", "page_size = 512"],
];

for (const setting of HARMLESS) {
  test(`a handle with PRAGMA ${setting} keeps locks as any other`, () =>
    withFile(async (path) => {
      using database = new DatabaseSync(path);
      database.exec(`PRAGMA ${setting}`);
      await using backend = await sqliteBackend(database as SqliteDatabase);
      await works(backend);
    }));
}

/** Settings that are refused by their name. */
const REFUSED: [setting: string, says: RegExp][] = [
  ["query_only = ON", /query_only is set on this handle/],
  ["journal_mode = OFF", /journal_mode = OFF/],
  ["journal_mode = MEMORY", /journal_mode = MEMORY/],
];

for (const [setting, says] of REFUSED) {
  test(`a handle with PRAGMA ${setting} is refused by name, whenever it is set`, () =>
    withFile(async (path) => {
      using database = new DatabaseSync(path);
      (database as { enableDefensive?(active: boolean): void }).enableDefensive?.(false); // it forbids "OFF"
      await using backend = await sqliteBackend(database as SqliteDatabase);
      const lock = await getLock("a", { backend });
      database.exec(`PRAGMA ${setting}`);
      const refused = (error: unknown) => error instanceof UnsupportedError && says.test(error.message);
      await assert.rejects(getLock("b", { backend }), refused);
      await assert.rejects(lock.unlock(), refused);
      assert.equal(await tryLock("a", { backend }), undefined);
    }));
}

test("a function that the program has replaced is refused by its name", async () => {
  for (const name of ["unixepoch", "JSON_GROUP_ARRAY", "max", "coalesce"]) {
    using database = new DatabaseSync(":memory:");
    database.function(name, { varargs: true }, () => 7);
    await assert.rejects(sqliteBackend(database as SqliteDatabase), (error) => {
      assert(error instanceof UnsupportedError);
      assert.match(error.message, new RegExp(`SQL function ${name}\\(\\) was replaced by the program`, "i"));
      return true;
    });
  }
  using database = new DatabaseSync(":memory:");
  database.function("regexp", () => 1);
  await using backend = await sqliteBackend(database as SqliteDatabase);
  await works(backend);
});

test("SQLite before 3.42 is refused with the version that is there and the one that is needed", async () => {
  for (
    const [version, works] of [["3.40.1", false], ["3.41.9", false], ["2.8.17", false], ["3.42.0", true], [
      "4.0",
      true,
    ]] as const
  ) {
    using database = new DatabaseSync(":memory:");
    const opening = sqliteBackend(ofVersion(database as SqliteDatabase, version));
    if (works) await (await opening)[Symbol.asyncDispose]();
    else {
      const says = `Cannot use SQLite ${version}: lockmgr needs 3.42.0 or newer`;
      await assert.rejects(opening, (error) => error instanceof UnsupportedError && error.message.startsWith(says));
    }
  }
});

test("an SQLite library without JSON is refused by what it lacks", async () => {
  using database = new DatabaseSync(":memory:");
  const lacking = changed(database as SqliteDatabase, (statement, sql) => {
    if (/json_each/.test(sql)) throw new Error("no such table: json_each");
    return statement;
  });
  await assert.rejects(sqliteBackend(lacking), (error) => {
    assert(error instanceof UnsupportedError);
    assert.match(error.message, /no such table: json_each.*SQLITE_OMIT_JSON/);
    return true;
  });
});

test("rows that do not come as objects are given names, or refused by name", async () => {
  const arrays = (statement: SqliteStatement, named: boolean): SqliteStatement => {
    const { columns } = statement as unknown as { columns(): { name: string }[] };
    const read = (row: unknown) => row && Object.values(row as object);
    return {
      get: (...parameters) => read(statement.get(...parameters)),
      all: (...parameters) => statement.all(...parameters).map(read),
      run: (...parameters) => statement.run(...parameters),
      ...(named ? { columns: columns.bind(statement) } : {}),
    } as SqliteStatement;
  };
  const first = (statement: SqliteStatement): SqliteStatement => ({
    ...statement,
    get: (...parameters) => Object.values((statement.get(...parameters) ?? {}) as object)[0],
  });
  const later = (statement: SqliteStatement): SqliteStatement => ({
    ...statement,
    get: (...parameters) => Promise.resolve(statement.get(...parameters)),
  });
  const nested = (statement: SqliteStatement): SqliteStatement => ({
    ...statement,
    get: (...parameters) => ({ $: statement.get(...parameters) }),
  });
  using database = new DatabaseSync(":memory:");
  const as = (change: (statement: SqliteStatement) => SqliteStatement) =>
    sqliteBackend(changed(database as SqliteDatabase, change));
  await using backend = await as((statement) => arrays(statement, true));
  await works(backend);
  const refused = (says: RegExp) => (error: unknown) => error instanceof UnsupportedError && says.test(error.message);
  await assert.rejects(as((statement) => arrays(statement, false)), refused(/rows as arrays \(returnArrays, raw\)/));
  await assert.rejects(as(first), refused(/single values instead of rows \(pluck\)/));
  await assert.rejects(as(later), refused(/answers with promises/));
  await assert.rejects(as(nested), refused(/no columns by name/));
  const promised = { exec() {}, close() {}, prepare: () => Promise.resolve({}) } as unknown as SqliteDatabase;
  await assert.rejects(sqliteBackend(promised), refused(/answers with promises/));
});

test("a handle that its program closes is an error for every request, and ends a wait", () =>
  withFile(async (path) => {
    const database = new DatabaseSync(path);
    await using backend = await sqliteBackend(database as SqliteDatabase);
    const lock = await getLock("a", { backend });
    const waiting = assert.rejects(getLock("a", { backend, wait: Infinity }), isClosed);
    await new Promise((resolve) => setTimeout(resolve, 0));
    database.close();
    await waiting;
    for (
      const request of [() => getLock("b", { backend }), () =>
        listLocks({ backend }), () =>
        lock.renew(), () =>
        lock.unlock()]
    ) {
      await assert.rejects(request as () => Promise<unknown>, isClosed);
    }
  }));

function isClosed(error: unknown): boolean {
  assert(error instanceof BackendError, String(error));
  assert.match(error.message, /^Cannot .*: the program has closed the database handle/);
  return true;
}

test("a program's open transaction is refused for a busy name too, whose row there may be old", () =>
  withFile(async (path) => {
    using database = new DatabaseSync(path);
    await using backend = await sqliteBackend(database as SqliteDatabase);
    await getLock("a", { backend });
    for (const begin of ["BEGIN", "BEGIN IMMEDIATE", "SAVEPOINT mine"]) {
      database.exec(begin);
      await assert.rejects(tryLock("a", { backend }), UnsupportedError);
      database.exec("ROLLBACK");
    }
    assert.equal(await tryLock("a", { backend }), undefined);
  }));
