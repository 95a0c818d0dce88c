import {
  BackendError,
  cleanLocks,
  connect,
  describeTarget,
  getLock,
  isLocked,
  listLocks,
  registerEngine,
  renewLock,
  resetLocks,
  schemaOf,
  setLock,
  unlock,
} from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { withEnvironment } from "./environment.ts";
import { test } from "../harness.ts";

/** The refusal of a target; fails when it was opened. */
async function refusalOf(target: unknown): Promise<Error> {
  try {
    await using _backend = await connect(target as string);
  } catch (error) {
    return error as Error;
  }
  throw new Error(`It was opened: ${String(target)}`);
}

test("targets: what may be shown is the scheme, host, port and database", async () => {
  const shown: Record<string, string> = {
    "postgres://u:p@h:5433/d?sslmode=require": "postgres://h:5433/d",
    " POSTGRESQL://u:p@h/d\n": "postgresql://h/d",
    "postgres://u:p@s@h/d": "postgres://h/d",
    "postgres://u@[::1]:5432/d": "postgres://[::1]:5432/d",
    "postgres://u@a:1,b:2/d": "postgres://a:1,b:2/d",
    "postgres://u@%2Fvar%2Frun/d": "postgres://%2Fvar%2Frun/d",
    "postgres:///d": "postgres:///d",
    "mysql://u:p@[fe80::1%25eth0]:3306/d": "mysql://[fe80::1%eth0]:3306/d",
    "mariadb://u:p@h/d?useSSL=false": "mariadb://h/d",
    "sqlite:/x/y.db?lockmgr_table=t": "sqlite:/x/y.db",
    "sqlite:///x/y.db": "sqlite:/x/y.db",
    "sqlite://x/y.db": "sqlite:x/y.db",
    "sqlite://./y.db": "sqlite:./y.db",
    "sqlite://:memory:": "sqlite::memory:",
    "file::memory:": "sqlite::memory:",
    "file:y.db": "sqlite:y.db",
    "file:./y.db": "sqlite:./y.db",
    "file:///x/a%20b.db": "sqlite:/x/a b.db",
    "file://localhost/x/y.db": "sqlite:/x/y.db",
    "C:\\x\\y.db": "sqlite:C:\\x\\y.db",
    "sqlite:C:/x/y.db": "sqlite:C:/x/y.db",
    "/x/day=3/a@b:c.db": "sqlite:/x/day=3/a@b:c.db",
    "./a b%20ü.db": "sqlite:./a b%20ü.db",
  };
  for (const [target, expected] of Object.entries(shown)) assert.equal(await describeTarget(target), expected, target);
});

test("targets: what is no target is a TypeError that says what to pass", async () => {
  const wrong: [unknown, RegExp][] = [
    ["", /empty target/],
    [" \n", /empty target/],
    [null, /it is null.*want a URL/],
    [5, /it is a number/],
    [Symbol("x"), /it is a symbol/],
    [["a"], /it is an array/],
    [{ url: "sqlite::memory:" }, /it is an object.*second argument/],
    [Promise.resolve("x"), /it is a promise.*await/],
    ["[object Object]", /turned into a text/],
    ["null", /turned into a text/],
    ["undefined", /turned into a text/],
    ["redis://h/1", /Cannot connect by "redis:": want one of .*; registerEngine adds others$/],
    ["http://h/1", /Cannot connect by "http:"/],
    ["host=h dbname=d", /list of keywords/],
    ["host = h", /list of keywords/],
    ["Server=h;Database=d", /list of keywords/],
    ["host=h password=p", /password in it/],
    ["u:p@tcp(h)/d", /USER:PASSWORD@HOST/],
    ["u:p@h/d", /USER:PASSWORD@HOST/],
    ["u@h/d", /USER@HOST/],
    ["h:5432/d", /drive/],
    ["localhost:5432/d", /scheme that is not known/],
    ["jdbc:postgresql://h/d", /URL in it/],
    ["jdbc:oracle:thin", /scheme that is not known/],
    ['"postgres://h/d"', /URL in it/],
    ["'sqlite:x.db'", /quotation marks/],
    ['postgres://h/d"', /quotation mark/],
    ["postgres:\\\\h\\d", /no \/\/ after it/],
    ["postgres:/h/d", /no \/\/ after it/],
    ["postgres://h/\nd", /control character/],
    ["postgres://h h/d", /a space in it/],
    ["postgres://h/d#x", /a # in it/],
    ["postgres://u:p/w@h/d", /an @ after its host/],
    ["postgres://u:p?w@h/d", /an @ after its host/],
    ["postgres://h:port/d", /port/],
    ["postgres://h:70000/d", /port/],
    ["postgres://::1/d", /IPv6 addresses in brackets/],
    ["mysql://u:a%b@h/d", /percent sign/],
    ["mysql://u:%ff@h/d", /percent sign/],
    ["postgres://h/d?nonsense=x", /"nonsense"/],
    ["mysql://h/d?nonsense=x", /"nonsense"/],
    ["sqlite:x.db?mode=ro", /"mode"/],
    ["file:x.db?cache=shared", /"cache"/],
    ["x.db?mode=ro", /parameters/],
    ["sqlite:", /no path/],
    ["sqlite://u:p@h/d", /user, password/],
    ["file://h/d", /no host/],
    ["sqlite:x#y", /a # in it/],
    ["sqlite:x%00y", /control character/],
    ["sqlite:%zz", /percent sign/],
    ["postgres://h/d?sslmode=perhaps", /"sslmode"/],
    ["postgres://h/d?gssencmode=require", /"gssencmode"/],
    ["postgres://h/d?sslrootcert=/no/such", /"sslrootcert".*ENOENT/],
    ["mysql://h/d?ssl=perhaps", /"ssl"/],
    ["postgres://h/d?lockmgr_mode=perhaps", /"lockmgr_mode"/],
    ["postgres://h/d?lockmgr_tabel=x", /"lockmgr_tabel": want "lockmgr_table", or another of/],
  ];
  for (const [target, says] of wrong) {
    const error = await refusalOf(target);
    assert(error instanceof TypeError, `${String(target)}: ${error}`);
    assert.match(error.message, says, String(target));
    assert.match(error.message, /^Cannot [^]*[^.]$/);
  }
});

test("targets: a handle is sent to the function that takes it", async () => {
  using database = new DatabaseSync(":memory:");
  const query = () => Promise.resolve({ rows: [] });
  const sql = Object.assign(() => {}, { unsafe: query, begin: query, options: {} });
  await using backend = await sqliteBackend(database);
  const handles: [unknown, RegExp][] = [
    [database, /sqliteBackend\(handle\)/],
    [{ getConnection: query, query }, /mysqlBackend\(pool\)/],
    [{ query, execute: query }, /mysqlBackend\(pool\)/],
    [{ query, connect: query }, /postgresBackend/],
    [sql, /postgresBackend\(sql\)/],
    [Object.assign(() => {}, sql, { options: { adapter: "mysql" } }), /Bun's "SQL"; want its URL/],
    [query, /postgresBackend\(function\)/],
    [backend, /option backend/],
  ];
  for (const [handle, says] of handles) {
    const error = await refusalOf(handle);
    assert(error instanceof TypeError);
    assert.match(error.message, says);
    await assert.rejects(schemaOf(handle as string), TypeError);
  }
});

test("targets: each engine's function takes URLs of its own alone", async () => {
  await assert.rejects(postgresBackend("mysql://u:p@h/d"), /^TypeError: [^@]*it is one of mysql:; want postgres:/);
  await assert.rejects(mysqlBackend("postgres://u:p@h/d"), /^TypeError: [^@]*it is one of postgres:; want mysql:/);
  await assert.rejects(sqliteBackend("postgres://u:p@h/d"), /^TypeError: [^@]*it is one of postgres:; want sqlite:/);
  await assert.rejects(mysqlBackend("locks.db"), /^TypeError: /);
  for (const open of [postgresBackend, mysqlBackend, sqliteBackend]) {
    for (const target of [null, 5, {}, [], undefined]) await assert.rejects(open(target as never), TypeError);
  }
});

test("targets: every spelling of a file's URL opens that file, relative ones from the working directory", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  const path = join(directory, "a b.db");
  const near = relative(process.cwd(), path);
  const url = pathToFileURL(path);
  const spellings: (string | URL)[] = [path, near, url, `${url}`, `  ${path}\n`, `file://localhost${url.pathname}`];
  for (const each of [path, encodeURI(path)]) spellings.push(`sqlite:${each}`, `sqlite://${each}`, `file:${each}`);
  for (const each of [near, encodeURI(near)]) spellings.push(`sqlite:${each}`, `sqlite://${each}`, `file:${each}`);
  await using first = await connect(path);
  await getLock("a", { backend: first });
  for (const spelling of spellings) {
    await using backend = await connect(spelling);
    assert.equal(await isLocked("a", { backend }), true, String(spelling));
  }
  for (const memory of [":memory:", "sqlite::memory:", "sqlite://:memory:", "file::memory:", "sqlite:%3Amemory%3A"]) {
    await using backend = await connect(memory);
    assert.equal(await isLocked("a", { backend }), false, memory);
  }
  assert.deepEqual((await readdir(".")).filter((name) => name.includes("memory")), []);
  await first[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

test("targets: the schema in a URL of PostgreSQL is that of a table without one", async () => {
  assert.match(await schemaOf("postgres://h/d?schema=app"), /TABLE IF NOT EXISTS "app"\."lockmgr_locks"/);
  assert.match(await schemaOf("postgres://h/d?currentSchema=app,public", { table: "t" }), /"app"\."t"/);
  assert.match(await schemaOf("postgres://h/d?schema=app&lockmgr_table=x.t"), /"x"\."t"/);
  await assert.rejects(schemaOf("postgres://h/d?schema=a b"), TypeError);
  await assert.rejects(schemaOf("postgres://h/d?schema=a%22b"), TypeError);
});

/** A BackendError whose message matches. */
function backendError(says: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof BackendError, String(error));
    assert.match(error.message, says);
    return true;
  };
}

test("targets: without a target it is that of LOCKMGR_URL, else a file in the state directory", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr #?%20-"));
  const path = join(directory, "own.db");
  await withEnvironment(
    { LOCKMGR_URL: ` sqlite:${encodeURIComponent(path)}\n`, XDG_STATE_HOME: directory },
    async () => {
      await using backend = await connect();
      await getLock("a", { backend });
      assert.equal(await isLocked("a"), true);
      assert.equal(await describeTarget(), `sqlite:${path}`);
    },
  );
  if (process.platform === "linux") {
    await withEnvironment({ LOCKMGR_URL: "  ", XDG_STATE_HOME: directory }, async () => {
      await using backend = await connect(undefined);
      await getLock("b", { backend });
      assert.equal(await describeTarget(), `sqlite:${directory}/lockmgr/locks.db`);
    });
    assert.deepEqual((await readdir(join(directory, "lockmgr"))).includes("locks.db"), true);
    await withEnvironment({ LOCKMGR_URL: undefined, HOME: directory, XDG_STATE_HOME: "relative" }, async () => {
      assert.equal(await describeTarget(), `sqlite:${directory}/.local/state/lockmgr/locks.db`);
    });
  }
  await rm(directory, { recursive: true });
});

test("targets: a wrong option is refused before the directory of the default file is made", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  await withEnvironment({ LOCKMGR_URL: undefined, HOME: directory, XDG_STATE_HOME: directory }, async () => {
    for (
      const options of [{ tabel: "t" }, { table: "1;" }, { busyTimeout: -1 }, { driver: "none" }, { mode: "hybrid" }]
    ) {
      await assert.rejects(connect(undefined, options as never), /^(Type|Range|Unsupported)Error: Cannot use/);
    }
    const wrong = { expires: -1 } as never;
    for (const call of [getLock, renewLock, setLock, isLocked, unlock]) {
      await assert.rejects(call("a", wrong), /Cannot use/);
    }
    for (const call of [listLocks, cleanLocks, resetLocks]) await assert.rejects(call(wrong), /Cannot use/);
  });
  assert.deepEqual(await readdir(directory), []);
  await rm(directory, { recursive: true });
});

test("targets: LOCKMGR_URL=required forbids the default file", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  for (const LOCKMGR_URL of ["required", " Required\n"]) {
    await withEnvironment({ LOCKMGR_URL, HOME: directory, XDG_STATE_HOME: undefined }, async () => {
      const forbidden = backendError(/LOCKMGR_URL=required forbids it.*want LOCKMGR_URL/);
      await assert.rejects(connect(), forbidden);
      await assert.rejects(connect(process.env.LOCKMGR_URL), forbidden);
      await assert.rejects(isLocked("a"), forbidden);
      await assert.rejects(schemaOf(), forbidden);
      await assert.rejects(describeTarget(), forbidden);
      await using backend = await connect("sqlite::memory:");
      assert.equal(await isLocked("a", { backend }), false);
    });
  }
  assert.deepEqual(await readdir(directory), []);
  await rm(directory, { recursive: true });
});

test("targets: a user without a home directory, or with one that cannot be written, is told of LOCKMGR_URL", async () => {
  const os = process.getBuiltinModule("node:os");
  const nowhere = { LOCKMGR_URL: undefined, HOME: undefined, USERPROFILE: undefined, XDG_STATE_HOME: undefined };
  const { homedir } = os;
  const ways = [
    () => {
      throw Object.assign(new Error("A system error occurred: uv_os_homedir returned ENOENT"), { name: "SystemError" });
    },
    () => null as unknown as string,
    () => "",
  ];
  try {
    for (const way of ways) {
      os.homedir = way;
      await withEnvironment(nowhere, async () => {
        await assert.rejects(connect(), backendError(/Cannot find the state directory.*want LOCKMGR_URL$/));
        await assert.rejects(isLocked("a"), backendError(/want LOCKMGR_URL$/));
      });
    }
  } finally {
    os.homedir = homedir;
  }
  await withEnvironment({ ...nowhere, HOME: "/dev/null", XDG_STATE_HOME: "/dev/null/state" }, async () => {
    await assert.rejects(connect(), backendError(/Cannot make the state directory.*want LOCKMGR_URL$/));
  });
});

test("targets: a registered engine opens the URLs of its scheme, and nothing of them is shown", async () => {
  const url = "lockmgr-test://user:secret@host/x?y=z#%";
  const opened: string[] = [];
  assert.match((await refusalOf(url)).message, /^Cannot connect by "lockmgr-test:": want one of sqlite:/);
  registerEngine("lockmgr-test:", {
    open: (target, { table }) => (opened.push(`${target} ${table}`), sqliteBackend(":memory:")),
  });
  await using backend = await connect(url, { table: "t" });
  assert.equal(backend.engine, "sqlite");
  assert.deepEqual(opened, [`${url} t`]);
  assert.equal(await describeTarget(url), "lockmgr-test:…");
  await assert.rejects(schemaOf(url), { code: "UNSUPPORTED" });
  for (const scheme of ["sqlite:", "mysql:", "x", "X:", ":", "http//:"]) {
    assert.throws(() => registerEngine(scheme, { open: () => sqliteBackend(":memory:") }), TypeError, scheme);
  }
});
