import { PGlite } from "@electric-sql/pglite";
import {
  type Backend,
  connect,
  getLock,
  listLocks,
  type Mode,
  resetLocks,
  setLock,
  tryLock,
  withLock,
} from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend, type PostgresExecutor } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import edge from "../../examples/edge.ts";
import { later } from "../conformance/case.ts";
import { disposedOfUnanswered } from "../conformance/unanswered.ts";
import { test } from "../harness.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, server, until } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid", "session"];

/** What a client must be good for. */
async function exercise(backend: Backend, other: Backend): Promise<void> {
  const rows = backend.mode !== "session";
  const lock = await getLock("a'\"\\$1", {
    backend,
    ...(rows ? { expires: 60, metadata: { deep: ["ü", null] } } : {}),
  });
  assert.equal(await tryLock(lock.name, { backend: other }), undefined);
  const [record] = await listLocks({ backend });
  assert.equal(record.token, lock.token);
  if (rows) assert.deepEqual(record.metadata, { deep: ["ü", null] });
  const waiting = later(getLock(lock.name, { backend: other, wait: 20 }));
  assert.equal(await lock.unlock(), true);
  const next = await waiting;
  assert(next.token > lock.token);
  if (rows) {
    await next.renew({ expires: 900 });
    assert.equal((await setLock(["x", "y", next.name], { backend: other })).counts.created, 2);
    await assert.rejects(setLock(["z", "x"], { backend, fail: true }), { name: "LockFail" });
  }
  assert.equal(await next.unlock(), true);
  if (rows) assert.equal(await resetLocks({ backend }), 2);
}

for (const mode of MODES) {
  test(`${mode}: through a "sql" instance of the program's own, which stays open`, async () => {
    const table = freshTable();
    const sql = postgres(server.url, { max_lifetime: null, max: 2, onnotice: () => {}, transform: postgres.camel });
    const backend = await postgresBackend(sql, { mode, table });
    const other = await postgresBackend(sql, { mode, table });
    await exercise(backend, other);
    await backend[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
    assert.deepEqual([...await sql`SELECT 1 AS one`], [{ one: 1 }]);
    await sql.end();
  });
}

test("lease: through node-postgres", async () => {
  const pool = new pg.Pool({ connectionString: server.url, max: 3 });
  const execute: PostgresExecutor = (text, parameters) =>
    pool.query(text, parameters).then(({ rows }: { rows: object[] }) => rows);
  const table = freshTable();
  await exercise(await postgresBackend(execute, { table }), await postgresBackend(execute, { table }));
  await using backend = await postgresBackend(execute, { table });
  const lock = await getLock("guarded", { backend });
  const client = await pool.connect();
  await client.query("BEGIN");
  await lock.guard(client);
  await client.query("COMMIT");
  client.release();
  await lock.unlock();
  await pool.end();
});

test("lease: through PGlite", async () => {
  const lite = await PGlite.create();
  const execute: PostgresExecutor = (text, parameters) => lite.query<object>(text, parameters).then(({ rows }) => rows);
  await exercise(await postgresBackend(execute), await postgresBackend(execute));
  await using backend = await postgresBackend(execute);
  const lock = await getLock("guarded", { backend });
  await lite.transaction((tx) => lock.guard(tx));
  await lite.close();
});

test("a schema whose name needs quotes is the same on connections with another search path", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql`CREATE SCHEMA IF NOT EXISTS "my-app's"`;
  const pool = new pg.Pool({ connectionString: server.url, max: 1, options: `-c search_path="my-app's"` });
  for (const mode of ["lease", "hybrid", "session"] as const) {
    await using backend = await postgresBackend(pool, { table, mode });
    const lock = await getLock("a", { backend, ...(mode === "session" ? {} : { autoRenew: true }) });
    await pool.query("SET search_path TO public");
    assert.equal(await tryLock("a", { backend }), undefined);
    const waiting = later(getLock("a", { backend, wait: 30 }));
    assert.equal(await lock.verify(), true);
    assert.equal(await lock.unlock(), true);
    await (await waiting).unlock();
    await pool.query(`SET search_path TO "my-app's"`);
  }
  await pool.end();
});

test("a function serves leases only", async () => {
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(postgresBackend(() => Promise.resolve([]), { mode }), { name: "UnsupportedError" });
  }
});

test("a function that never answers is given up when the backend is disposed of", async () => {
  await using sql = administrator();
  const table = freshTable();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  await disposedOfUnanswered((isSilent) =>
    postgresBackend((text, parameters) => isSilent() ? new Promise(() => {}) : sql.unsafe(text, parameters), { table })
  );
});

test("a function without migration needs no first statement", async () => {
  let statements = 0;
  await using sql = administrator();
  const table = freshTable();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  const backend = await postgresBackend((text, parameters) => (statements++, sql.unsafe(text, parameters)), {
    table,
    migrate: false,
  });
  const lock = await getLock("a", { backend });
  await tryLock("a", { backend });
  await lock.unlock();
  assert.equal(statements, 3);
});

test("behind a transaction pooler session and hybrid are refused with an alternative", async () => {
  await using pooler = await PgBouncer.start(server.port);
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(connect(pooler.url, { mode, table: freshTable() }), (error: Error) => {
      assert.equal(error.name, "UnsupportedError");
      assert.match(error.message, /pooler in transaction mode.*want "lease"/);
      return true;
    });
  }
});

/** Statements of another program through a pooler, until disposal. */
function traffic(url: string, clients: number): AsyncDisposable {
  const sql = administrator(url, false);
  sql.options.max = clients;
  let ended = false;
  const pause = () => new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
  const running = Array.from({ length: clients }, async () => {
    for (; !ended; await pause()) await sql.unsafe(`SELECT pg_sleep(${Math.random() / 100})`);
  });
  return {
    async [Symbol.asyncDispose]() {
      ended = true;
      await Promise.all(running);
      await sql.end();
    },
  };
}

for (const inTurns of [false, true]) {
  test(`sessions are refused behind a busy transaction pooler too, server connections ${inTurns ? "in turns" : "by last use"}`, async () => {
    for (const [poolSize, clients] of [[2, 0], [2, 1], [4, 0], [10, 3]]) {
      await using pooler = await PgBouncer.start(server.port, { poolSize, inTurns });
      await using sql = administrator(pooler.url, false);
      await Promise.all(Array.from({ length: poolSize }, () => sql`SELECT pg_sleep(0.1)`)); // opens them all
      await using _traffic = traffic(pooler.url, clients);
      await using backend = await connect(pooler.url, { table: freshTable() });
      const attempts = Array.from({ length: 15 }, () => [
        () => connect(pooler.url, { mode: "session", table: freshTable() }),
        () => connect(pooler.url, { mode: "hybrid", table: freshTable() }),
        () => advisoryLock(backend, "a"),
      ]).flat();
      for (const attempt of attempts) await assert.rejects(attempt(), /pooler in transaction mode/);
    }
  });
}

test("sessions are refused behind a busy pooler in statement mode too", async () => {
  await using pooler = await PgBouncer.start(server.port, { mode: "statement", poolSize: 10 });
  await using _traffic = traffic(pooler.url, 3);
  for (const mode of Array.from({ length: 20 }, (_, index) => index % 2 ? "session" : "hybrid") as Mode[]) {
    await assert.rejects(connect(pooler.url, { mode, table: freshTable() }), /pooler in transaction mode/);
  }
});

test("what is refused behind a transaction pooler leaves other programs' sessions as they are", async () => {
  await using pooler = await PgBouncer.start(server.port, { poolSize: 1 });
  await using sql = administrator(pooler.url, false);
  const settings =
    async () => [...await sql`SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY name`];
  const before = await settings();
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(connect(pooler.url, { mode, table: freshTable() }), /pooler in transaction mode/);
  }
  await using backend = await connect(pooler.url, { table: freshTable() });
  await assert.rejects(advisoryLock(backend, "a"), /pooler in transaction mode/);
  assert.deepEqual(await settings(), before);
});

test("behind a pooler in session mode every mode works", async () => {
  await using pooler = await PgBouncer.start(server.port, { mode: "session", poolSize: 20 });
  for (const mode of MODES) {
    const table = freshTable();
    await using backend = await connect(pooler.url, { mode, table });
    await using other = await connect(pooler.url, { mode, table });
    await exercise(backend, other);
  }
});

test("behind a transaction pooler many clients never hold one name together", async () => {
  await using pooler = await PgBouncer.start(server.port, { poolSize: 3 });
  const table = freshTable();
  const backends = await Promise.all(Array.from({ length: 8 }, () => connect(pooler.url, { table })));
  const inside = new Map<string, number>();
  let most = 0;
  await Promise.all(backends.map(async (backend) => {
    for (let round = 0; round < 25; round++) {
      await withLock(`name ${round % 3}`, { backend, wait: 60 }, async ({ name }) => {
        inside.set(name, (inside.get(name) ?? 0) + 1);
        most = Math.max(most, inside.get(name)!);
        await new Promise((resolve) => setTimeout(resolve, 0));
        inside.set(name, inside.get(name)! - 1);
      });
    }
  }));
  assert.equal(most, 1);
  for (const backend of backends) await backend[Symbol.asyncDispose]();
});

test("behind a transaction pooler names in any alphabet are answered, many at a time", async () => {
  await using pooler = await PgBouncer.start(server.port);
  await using backend = await connect(pooler.url, { table: freshTable() });
  const names = [
    ...Array.from({ length: 30 }, (_, index) => `job ${index}`),
    "ñandú",
    "🔒",
    "two\nlines",
    "é",
    "ж",
    "中",
  ];
  const acquireAll = (expires: number) =>
    Promise.all(names.map((name) => getLock(name, { backend, expires, wait: 20 })));
  const startedAt = performance.now();
  const expired = await acquireAll(0.05);
  const locks = await acquireAll(60);
  await Promise.all(
    [...expired, ...locks].map(async (lock) => assert.equal(await lock.unlock(), locks.includes(lock))),
  );
  assert(performance.now() - startedAt < 10_000); // a statement that the pooler had lost was given up after 15 s
});

test("the edge example serves requests through a transaction pooler", async () => {
  await using pooler = await PgBouncer.start(server.port, { poolSize: 2 });
  await using backend = await connect(server.url); // makes the default table
  const environment = { DATABASE_URL: pooler.url };
  const ask = () => edge.fetch(new Request("https://example.org/report"), environment);
  const three = async () => (await Promise.all([ask(), ask(), ask()])).map(({ status }) => status).sort();
  const held = await getLock("job:report", { backend });
  assert.deepEqual(await three(), [409, 409, 409]);
  await held.unlock();
  let statuses: number[] = [];
  for (let tries = 0; tries < 5 && statuses[1] !== 409; tries++) statuses = await three(); // they may come one by one
  assert.deepEqual(statuses, [200, 409, 409]);
  assert.equal((await ask()).status, 200);
});

test("a replica is recognised", async () => {
  await using sql = administrator();
  const table = freshTable();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  const pretend: PostgresExecutor = (text, parameters) =>
    sql.begin("read only", (tx) => tx.unsafe(text, parameters)) as unknown as Promise<object[]>;
  await using backend = await postgresBackend(pretend, { table });
  await assert.rejects(getLock("a", { backend }), (error: Error) => {
    assert.equal(error.name, "BackendError");
    assert.match(error.message, /read-only/);
    return true;
  });
});

test("a role that may only use the table, in another schema, with an empty search path", async () => {
  await using sql = administrator();
  await sql.unsafe(`CREATE SCHEMA app; CREATE ROLE worker LOGIN; ALTER ROLE worker SET search_path = ''`);
  await (await connect(server.url, { table: "app.locks" }))[Symbol.asyncDispose]();
  const worker = server.urlOf("postgres", "worker");
  await assert.rejects(connect(worker, { table: "app.locks", migrate: false }), { name: "BackendError" });
  await sql.unsafe(`GRANT USAGE ON SCHEMA app TO worker;
    GRANT SELECT, INSERT, UPDATE, DELETE ON app.locks TO worker; GRANT USAGE ON SEQUENCE app.locks_token TO worker`);
  for (const mode of MODES) {
    await using backend = await connect(worker, { mode, table: "app.locks", migrate: false });
    await using other = await connect(worker, { mode, table: "app.locks" });
    await exercise(backend, other);
  }
  await assert.rejects(
    connect(worker, { table: "missing", migrate: false }),
    /"missing" does not exist, and "migrate" is off/,
  );
  await assert.rejects(connect(worker, { table: "app.forbidden" }), /may not do that|permission denied/);
  await using backend = await connect(server.url, { table: freshTable() });
  assert(backend);
});

test("an empty search path means schema public", async () => {
  const url = `${server.url}?options=${encodeURIComponent("-c search_path=")}`;
  const table = freshTable();
  await using backend = await connect(url, { table });
  await using lock = await getLock("a", { backend });
  await using other = await connect(server.url, { table });
  assert.equal(await tryLock("a", { backend: other }), undefined);
  assert(lock.held);
});

test("a search path that begins with temporary tables means the next schema in it, in every mode", async () => {
  for (const path of ["pg_temp", "missing, pg_temp", "pg_temp, public"]) {
    const url = `${server.url}?options=${encodeURIComponent(`-c search_path=${path.replace(" ", "")}`)}`;
    for (const mode of MODES) {
      const table = freshTable();
      await using backend = await connect(url, { mode, table });
      await using same = await connect(url, { mode, table });
      await using other = await connect(server.url, { mode, table });
      await exercise(backend, same);
      await exercise(backend, other);
    }
  }
});

test("a temporary table of the client is not the lock table", async () => {
  const table = freshTable();
  const sql = postgres(server.url, { max_lifetime: null, max: 1, onnotice: () => {} });
  try {
    await sql.unsafe(`CREATE TEMP TABLE ${table} (name text)`);
    await using backend = await postgresBackend(sql, { table });
    await using other = await connect(server.url, { table });
    await exercise(backend, other);
  } finally {
    await sql.end();
  }
  await assert.rejects(connect(server.url, { table: "pg_temp.locks" }), {
    name: "UnsupportedError",
    message: /table "pg_temp.locks": it is temporary/,
  });
});

test("a dropped table is created again, a table with other columns is refused", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  await using sql = administrator();
  await sql.unsafe(`DROP TABLE ${table}`);
  await using lock = await getLock("a", { backend });
  assert(lock.held);
  await sql.unsafe(`CREATE TABLE foreign_table (name text)`);
  await assert.rejects(connect(server.url, { table: "foreign_table" }), /has no column owner/);
});

test("many clients create the table at once", async () => {
  const table = freshTable();
  const backends = await Promise.all(Array.from({ length: 12 }, () => connect(server.url, { table })));
  await Promise.all(backends.map((backend, index) => getLock(`name ${index}`, { backend })));
  for (const backend of backends) await backend[Symbol.asyncDispose]();
});

test("TLS and a password connect, and no error shows the password", async () => {
  const hba = ["hostssl all secretive all scram-sha-256", "hostnossl all secretive all reject"];
  await using own = await PostgresServer.start({ tls: true, hba });
  await using sql = administrator(own.url);
  const password = "p@ss:wörd/%";
  await sql.unsafe(`CREATE ROLE secretive LOGIN SUPERUSER PASSWORD '${password}'`);
  const address = (secret: string, rest = "") =>
    `postgres://secretive:${encodeURIComponent(secret)}@localhost:${own.port}/postgres${rest}`;
  const driver = { ssl: { ca: own.certificate } };
  for (const mode of MODES) {
    const table = freshTable();
    await using backend = await connect(address(password), { mode, table, driver });
    await using other = await connect(address(password, "?sslmode=require"), { mode, table });
    await exercise(backend, other);
  }
  const failures = [
    () => connect(address("wrong-p@ss:wörd/%")),
    () => connect(address(password)), // not encrypted
    () => connect(address(password, "?sslmode=verify-full")), // not signed by anybody known
    () => connect(address(password).replace(`${own.port}`, "1")),
    () => connect(address(password, "?lockmgr_mode=wrong")),
    () => connect(address(password).replace("localhost", "local host")),
    () => connect(address(password).replace(`${own.port}`, "99999")),
  ];
  for (const failure of failures) {
    const error = await failure().then(() => undefined, (error) => error);
    assert(error instanceof Error);
    for (const secret of [password, encodeURIComponent(password), "wrong-p"]) {
      assert(!textOf(error).includes(secret), textOf(error));
    }
  }
});

/** All that an error shows, with its causes. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return [String(error), error.stack, JSON.stringify(error), JSON.stringify({ ...error }), textOf(error.cause)].join(
    "\n",
  );
}

test("a process ends without closing its backend", async () => {
  const { spawn } = await import("node:child_process");
  const { Deno } = globalThis as { Deno?: unknown };
  const { fileURLToPath } = await import("node:url");
  const { default: process } = await import("node:process");
  const script = fileURLToPath(new URL("./exits_without_closing.ts", import.meta.url));
  for (const mode of MODES) {
    const flags = Deno ? ["run", "-A"] : process.execArgv.filter((flag) => !flag.startsWith("--test"));
    const child = spawn(process.execPath, [...flags, script, server.url, mode, freshTable()], { stdio: "inherit" });
    let code: number | null | undefined;
    child.once("exit", (exit) => code = exit);
    await until(`${mode}: the process ends`, () => code !== undefined, 15);
    assert.equal(code, 0);
  }
});
