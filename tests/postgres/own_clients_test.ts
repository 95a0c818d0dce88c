/** What a program does with its own pool or `sql` while a backend uses it, too. */
import { type Backend, BackendError, connect, getLock, tryLock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { AbandonedConnections } from "../../backends/postgres/connection/abandoned.ts";
import { type Query, sourceOf } from "../../backends/postgres/connection/driver.ts";
import { parseUrl } from "../../backends/postgres/options.ts";
import { Unanswered } from "../../core/util/in_progress.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server } from "./server.ts";

/** A pool, and a backend on it. */
async function withPool(options: pg.PoolConfig, body: (pool: pg.Pool, backend: Backend) => Promise<void>) {
  const pool = new pg.Pool({ connectionString: server.url, max: 1, ...options });
  try {
    await using backend = await postgresBackend(pool, { table: freshTable() });
    await body(pool, backend);
  } finally {
    await pool.end();
  }
}

test("a pool's listener sets up the connections that are opened while its clients are in use", async () => {
  await using sql = administrator();
  await sql`CREATE SCHEMA IF NOT EXISTS hooked`;
  const pool = new pg.Pool({ connectionString: server.url, max: 1 });
  pool.on(
    "connect",
    (client: pg.PoolClient) => void client.query(`SET search_path TO hooked; SET application_name TO 'my app'`),
  );
  await using backend = await postgresBackend(pool, { table: freshTable() });
  const lock = await getLock("a", { backend });
  const client = await pool.connect();
  assert.equal(await tryLock("a", { backend }), undefined);
  const shown = "SELECT FROM pg_stat_activity WHERE application_name = 'my app'";
  assert.equal((await sql.unsafe(shown)).length, 2);
  client.release();
  assert.equal(await lock.unlock(), true);
  await backend[Symbol.asyncDispose]();
  await pool.end();
});

test("leases are renewed on the program's own connections where its role may open no more", async () => {
  const table = freshTable();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  await using admin = administrator();
  await admin.unsafe(`CREATE ROLE two_${table} LOGIN CONNECTION LIMIT 2; GRANT ALL ON ${table} TO two_${table}`);
  const url = server.urlOf("postgres", `two_${table}`);
  const sql = postgres(url, { max_lifetime: null, max: 2, onnotice: () => {} });
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  for (const target of [sql, pool]) {
    await using backend = await postgresBackend(target, { table, migrate: false });
    await using lock = await getLock("a", { backend, expires: 3, autoRenew: true });
    const before = lock.lockedUntil!.getTime();
    if (target === sql) await Promise.all([sql`SELECT pg_sleep(0.1)`, sql`SELECT pg_sleep(0.1)`]); // opens both
    else {
      const [one, two] = [await pool.connect(), await pool.connect()];
      const renewing = lock.renew({ expires: 3 });
      await new Promise((resolve) => setTimeout(resolve, 100));
      one.release();
      two.release();
      await renewing;
    }
    while (lock.lockedUntil!.getTime() === before && lock.held) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(lock.held, true);
    await lock.unlock();
    if (target === sql) {
      await backend[Symbol.asyncDispose]();
      await sql.end();
    }
  }
  await pool.end();
});

test("a request does not wait for a client that the program has just taken", async () => {
  await withPool({}, async (pool, backend) => {
    await (await getLock("a", { backend })).unlock();
    const taking = pool.connect();
    const lock = await getLock("a", { backend, signal: AbortSignal.timeout(5_000) });
    assert.equal(await lock.unlock(), true);
    (await taking).release();
  });
});

test("a pool is refused whose clients answer bytes by the driver's defaults", async () => {
  pg.defaults.binary = true;
  try {
    await assert.rejects(withPool({}, async () => {}), TypeError);
  } finally {
    pg.defaults.binary = false;
  }
});

test("statements that the program has not awaited count for the transaction of a pool's client", async () => {
  await withPool({}, async (pool, backend) => {
    await (await getLock("a", { backend })).unlock();
    const send = async (statement: string) => {
      const client = await pool.connect();
      client.query(statement);
      client.release();
    };
    await send("BEGIN");
    await assert.rejects(getLock("a", { backend }), { name: "UnsupportedError" });
    await send("COMMIT");
    assert.equal(await (await getLock("a", { backend })).unlock(), true);
  });
});

test("a function's errors of node-postgres without a code pass as those of its pool do", async () => {
  const pool = new pg.Pool({ connectionString: server.url, max: 1 });
  const failures: string[] = [];
  await using backend = await postgresBackend(async (text, values) => {
    const failure = failures.shift();
    if (failure !== undefined) throw new Error(failure);
    return (await pool.query(text, values)).rows;
  }, { table: freshTable() });
  for (const message of ["Connection terminated unexpectedly", "timeout exceeded when trying to connect"]) {
    failures.push(message, message, message);
    const lock = await getLock("a", { backend, wait: 10 });
    failures.push(message);
    assert.equal(await lock.unlock(), true);
  }
  await backend[Symbol.asyncDispose]();
  await pool.end();
});

test("a read-only server is no busy answer through a sql that transforms names", async () => {
  const table = freshTable();
  await using other = await connect(server.url, { table });
  await getLock("a", { backend: other });
  const options = {
    transform: postgres.camel,
    connection: { default_transaction_read_only: true },
    onnotice: () => {},
  };
  const sql = postgres(server.url, { max_lifetime: null, ...options });
  await using backend = await postgresBackend(sql, { table });
  await assert.rejects(tryLock("a", { backend }).then(() => tryLock("a", { backend })), BackendError);
  await backend[Symbol.asyncDispose]();
  await sql.end();
});

test("leases are renewed while the program uses all connections of its sql", async () => {
  const sql = postgres(server.url, { max: 1, max_lifetime: null, onnotice: () => {} });
  await using backend = await postgresBackend(sql, { table: freshTable() });
  const lock = await getLock("a", { backend, expires: 1, autoRenew: true });
  await sql.begin((tx) => tx`SELECT pg_sleep(2.5)`);
  assert.equal(lock.held, true);
  assert.equal(await lock.verify(), true);
  await backend[Symbol.asyncDispose]();
  await sql.end();
});

test("a statement that was given up is cancelled, not what the program runs on its connection", async () => {
  await using sql = administrator();
  const connection = await sql.reserve();
  const [{ pid }] = await connection`SELECT pg_backend_pid() AS pid`;
  const abandoned = new AbandonedConnections(await sourceOf(parseUrl(server.url).address.driver));
  const answer = Promise.withResolvers<never>();
  const query: Query = Object.assign(answer.promise, { active: true });
  const running = connection`SELECT pg_sleep(0.5)`.execute();
  abandoned.giveUp(String(pid), [{ name: "a" }], new Unanswered("test"), query, "SELECT 'of ours'");
  await running;
  answer.reject(new Error("test"));
  await abandoned.settled();
  await abandoned.close();
  connection.release();
});
