/**
 * Locks and advisory locks through pools and clients of node-postgres, on every runtime.
 *
 * @module
 */
import { type Backend, BackendError, getLock, type Mode, tryLock } from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import process from "node:process";
import pg from "pg";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { PostgresServer } from "../servers/postgres.ts";

/** Waits for something that will be so, looking often. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`Not so after 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

let tables = 0;
const fresh = () => `pg_${tables++}`;

/** A pool, and a client of another program to look with. */
interface Place {
  readonly pool: pg.Pool;
  readonly url: string;
  readonly pooledUrl: string;
  readonly other: pg.Client;
}

/** Whether the server engines are tested on this runtime. */
const tested = process.env.LOCKMGR_TEST_ENGINES?.split(",").includes("postgres") ?? true;
const server = tested ? await PostgresServer.start() : undefined;
const pooled = server && await PgBouncer.start(server.port);

/** Runs a test with a pool, which is ended afterwards unless the test has ended it. */
function on(name: string, options: object, run: (place: Place) => Promise<void>): void {
  if (server === undefined || pooled === undefined) return;
  const { url } = server;
  test(`pg: ${name}`, async () => {
    const pool = new pg.Pool({ connectionString: url, application_name: "program", ...options });
    const other = new pg.Client({ connectionString: url, application_name: "other" });
    await other.connect();
    try {
      await run({ pool, url, pooledUrl: pooled.url, other });
    } finally {
      if (!pool.ending) await pool.end();
      await until("no client is left behind", async () => {
        const { rows } = await other.query(
          "SELECT FROM pg_stat_activity WHERE application_name IN ('program', 'hook')",
        );
        return rows.length === 0;
      });
      await other.end();
    }
  });
}

/** How many clients hold or wait for the advisory lock of a number. */
async function inQueue(other: pg.Client, id: number, granted: boolean): Promise<number> {
  const { rows } = await other.query(
    "SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND granted = $2",
    [id, granted],
  );
  return rows.length;
}

/** Ends the connections of a program behind its back. */
async function terminate(other: pg.Client, where: string): Promise<void> {
  await other.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND ${where}`,
  );
}

const MODES: readonly Mode[] = ["lease", "session", "hybrid"];

for (const mode of MODES) {
  on(`${mode}: a waiter is served, and the pool is not ended`, { max: 3 }, async ({ pool }) => {
    const table = fresh();
    {
      await using one = await postgresBackend(pool, { mode, table });
      await using two = await postgresBackend(pool, { mode, table });
      const held = await getLock("jobs", { backend: one });
      assert.equal(await tryLock("jobs", { backend: two }), undefined);
      const waiting = later(getLock("jobs", { backend: two, wait: 20 }));
      await held.unlock();
      assert((await waiting).token > held.token);
    }
    assert.deepEqual((await pool.query("SELECT 1 AS one")).rows, [{ one: 1 }]);
  });

  on(`${mode}: the only client of the pool may be in use`, { max: 1 }, async ({ pool }) => {
    await using backend = await postgresBackend(pool, { mode, table: fresh(), answerTimeout: 3 });
    const client = await pool.connect();
    await client.query("BEGIN");
    const lock = await getLock("jobs", { backend });
    assert(await lock.verify());
    await client.query("ROLLBACK");
    assert(await lock.verify());
    client.release();
    assert.equal(await lock.unlock(), true);
  });

  on(`${mode}: connections that end, also idle ones of the pool, do not end the process`, {}, async (place) => {
    const { pool, other } = place;
    await using backend = await postgresBackend(pool, { mode, table: fresh() });
    const lock = await getLock("jobs", { backend });
    await terminate(other, "application_name = 'program'");
    if (mode !== "lease") await until("the loss is signalled", () => lock.signal.aborted);
    const again = await getLock("others", { backend, wait: 10 });
    assert(await again.verify());
  });

  on(`${mode}: a pool that is ended ends the waits`, {}, async ({ pool }) => {
    const table = fresh();
    await using backend = await postgresBackend(pool, { mode, table });
    const second = new pg.Pool(pool.options);
    try {
      await using holder = await postgresBackend(second, { mode, table });
      const held = await getLock("jobs", { backend: holder });
      const waiting = getLock("jobs", { backend, wait: 20 }).catch((error) => error);
      await until("it waits", async () => (await holder.observe!(["jobs"]))[0].waiters!.length === 1);
      await pool.end();
      // a session is a client of its own, which goes on
      const outcome = mode === "session" ? await held.unlock() && await waiting : await waiting;
      if (mode === "session") assert.equal(await outcome.unlock(), true);
      else assert(outcome instanceof BackendError && /after calling end/.test(outcome.message), String(outcome));
    } finally {
      await second.end();
    }
  });
}

on("settings of the pool hold for dedicated clients, and none ends a session or a wait", {
  connectionString: undefined,
  query_timeout: 2_000,
  statement_timeout: 2_000,
  idle_in_transaction_session_timeout: 2_000,
  idleTimeoutMillis: 1,
  maxUses: 1,
  Promise: undefined,
  types: { getTypeParser: () => () => new Date() },
  onConnect: (client: pg.Client) => client.query("SET application_name = 'hook'"),
}, async ({ url, pool, other }) => {
  const { hostname, port } = new URL(url);
  let asked = 0;
  const password = () => (asked++, Promise.resolve("secret"));
  Object.assign(pool.options, { host: hostname, port: Number(port), user: "postgres", database: "postgres" });
  Object.defineProperty(pool.options, "password", { value: password });
  await using backend = await postgresBackend(pool, { mode: "hybrid", table: fresh() });
  await using other_ = await postgresBackend(pool, { mode: "hybrid", table: "pg_0" });
  const lock = await getLock("jobs", { backend, metadata: { since: 1 } });
  const { rows } = await other.query("SELECT FROM pg_stat_activity WHERE application_name = 'hook'");
  assert(rows.length > 0);
  await using held = await advisoryLock(other_, 900);
  const waiting = advisoryLock(pool, 900, { timeout: 10 });
  await until("a client waits", async () => await inQueue(other, 900, false) === 1);
  await new Promise((resolve) => setTimeout(resolve, 2_100)); // longer than the limits
  await held.release();
  await (await waiting).release();
  assert(lock.held);
});

on("a client that went back with its transaction open is not written in", { max: 1 }, async ({ pool }) => {
  await using backend = await postgresBackend(pool, { table: fresh() });
  const client = await pool.connect();
  await client.query("BEGIN");
  client.release();
  await assert.rejects(getLock("jobs", { backend }), { name: "UnsupportedError", message: /a transaction is open/ });
});

on("what cannot be used is refused by name", {}, async ({ pool, url }) => {
  await assert.rejects(postgresBackend(new pg.Client(url) as never), { name: "TypeError", message: /want its Pool/ });
  const client = await pool.connect();
  await assert.rejects(postgresBackend(client as never), { name: "TypeError", message: /want its Pool/ });
  client.release();
  const binary = new pg.Pool({ binary: true });
  await assert.rejects(postgresBackend(binary), { name: "TypeError", message: /"binary"/ });
  await assert.rejects(advisoryLock(binary, 1), { name: "TypeError", message: /"binary"/ });
  class Native {} // "pg.native" needs a library of the system's
  const native = Object.assign(new pg.Pool(), { Client: Native });
  await assert.rejects(postgresBackend(native), { name: "TypeError", message: /"pg.native"/ });
});

on("a server that refuses the pool, or is not there, is a BackendError", {}, async ({ url }) => {
  const { port } = new URL(url);
  for (const options of [{ port: 1 }, { port: Number(port), ssl: true }]) {
    const pool = new pg.Pool({ host: "127.0.0.1", user: "postgres", connectionTimeoutMillis: 5_000, ...options });
    await assert.rejects(postgresBackend(pool, { mode: "session" }), { name: "BackendError" });
    await assert.rejects(advisoryLock(pool, 1), { name: "BackendError" });
    await pool.end();
  }
});

on("advisoryLock: a pool and a client have sessions of their own", { max: 1 }, async ({ pool, other }) => {
  const client = await pool.connect();
  for (const place of [pool, client]) {
    const lock = await advisoryLock(place, 901);
    assert.equal(await inQueue(other, 901, true), 1);
    assert.equal((await advisoryLock(other, 901, { wait: false })).acquired, false);
    assert.equal(await lock.release(), true);
    assert.equal(await inQueue(other, 901, true), 0);
  }
  const lock = await advisoryLock(client, 901);
  await terminate(other, "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 901)");
  await until("the loss is signalled", () => lock.signal.aborted);
  client.release();
});

for (const pooler of [false, true]) {
  on(`advisoryLock: a transaction${pooler ? " behind PgBouncer" : ""} keeps it until it ends`, {}, async (place) => {
    const { other, url, pooledUrl } = place;
    const client = new pg.Client(pooler ? pooledUrl : url);
    await client.connect();
    const holder = await advisoryLock(other, 902);
    await client.query("BEGIN");
    assert.equal((await advisoryLock(client, 902, { wait: false })).acquired, false);
    await assert.rejects(advisoryLock(client, 902, { timeout: 0.05 }), { name: "LockTimeout" });
    const abort = new AbortController();
    const waiting = assert.rejects(advisoryLock(client, 902, { signal: abort.signal }), { name: "AbortError" });
    await until("the transaction waits", async () => await inQueue(other, 902, false) === 1);
    abort.abort();
    await waiting;
    assert.equal(await inQueue(other, 902, false), 0);
    const patient = advisoryLock(client, 902);
    await until("the transaction waits", async () => await inQueue(other, 902, false) === 1);
    await holder.release();
    const lock = await patient;
    assert.equal(await lock.release(), false);
    assert.equal(await inQueue(other, 902, true), 1);
    await client.query("COMMIT");
    assert.equal(await inQueue(other, 902, true), 0);
    await client.end();
  });
}

on("behind PgBouncer leases work, and what needs a session is refused", {}, async ({ pooledUrl, pool }) => {
  const pooled = new pg.Pool({ connectionString: pooledUrl });
  const client = await pooled.connect();
  const refusal = { name: "UnsupportedError", message: /pooler in transaction mode/ };
  for (const place of [pooled, client]) await assert.rejects(advisoryLock(place, 903), refusal);
  client.release();
  const table = fresh();
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(postgresBackend(pooled, { mode, table }), refusal);
  }
  {
    await using backend: Backend = await postgresBackend(pooled, { table });
    await using direct: Backend = await postgresBackend(pool, { table });
    const lock = await getLock("jobs", { backend });
    assert.equal(await tryLock("jobs", { backend: direct }), undefined);
    await lock.unlock();
  }
  await pooled.end();
});

if ("Bun" in globalThis) {
  on("Bun's SQL is refused by name, and keeps leases through a function", { max: 1 }, async ({ url }) => {
    const { SQL } = (globalThis as unknown as { Bun: { SQL: new (url: string) => never } }).Bun;
    const sql = new SQL(url) as never as {
      unsafe(text: string, parameters: (string | null)[]): Promise<object[]>;
      end(): Promise<void>;
    };
    await assert.rejects(postgresBackend(sql as never), { name: "TypeError", message: /Bun's "SQL"/ });
    await assert.rejects(advisoryLock(sql as never, 1), { name: "TypeError", message: /Bun's "SQL"/ });
    {
      await using backend = await postgresBackend((text, parameters) => sql.unsafe(text, parameters), {
        table: fresh(),
      });
      const lock = await getLock("jobs", { backend });
      assert.equal(await tryLock("jobs", { backend }), undefined);
      assert.equal(await lock.unlock(), true);
    }
    await sql.end();
  });
}
