/**
 * Locks through a caller's function, while a transaction of the caller's is open on the connection that it uses.
 *
 * @module
 */
import { PGlite } from "@electric-sql/pglite";
import {
  type Backend,
  connect,
  getLock,
  isLocked,
  renewLock,
  resetLocks,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import { postgresBackend, type PostgresExecutor } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import type postgres from "postgres";
import { test } from "../harness.ts";
import { administrator, freshTable, server } from "./server.ts";

/** A refusal that says why and what to do. */
const REFUSED = { name: "UnsupportedError", message: /a transaction is open on the connection.*want/ };
/** A name that is sent as a parameter, and one that is written into the statement. */
const NAMES = ["a", "it's $1 ü"];

/** A connected client of node-postgres, ended on disposal. */
async function openClient(): Promise<pg.Client & AsyncDisposable> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

/** Sends statements through a client. */
function through(client: { query(text: string, values: unknown[]): Promise<{ rows: object[] }> }): PostgresExecutor {
  return (text, values) => client.query(text, values).then(({ rows }) => rows);
}

/** Everything that writes is refused, each time in a transaction that `begin` opens. */
async function everythingRefused(backend: Backend, begin: (body: () => Promise<void>) => Promise<void>): Promise<void> {
  for (const name of NAMES) {
    await begin(() => assert.rejects(getLock(name, { backend }), REFUSED));
    await begin(() => assert.rejects(tryLock(name, { backend, metadata: { a: "'" } }), REFUSED));
  }
  await begin(() => assert.rejects(setLock([...NAMES, "c"], { backend }), REFUSED));
  await begin(() => assert.rejects(setLock([...NAMES, "c"], { backend, fail: true }), REFUSED));
}

for (const migrate of [true, false]) {
  test(`lease: node-postgres after BEGIN is refused, migrate ${migrate}`, async () => {
    const table = freshTable();
    await using other = await connect(server.url, { table });
    await using client = await openClient();
    const early = await postgresBackend(through(client), { table, migrate });
    for (const name of NAMES) await (await getLock(name, { backend: early })).unlock(); // known to be released here
    const begins = ["BEGIN", "BEGIN ISOLATION LEVEL SERIALIZABLE", "BEGIN; SAVEPOINT s", "BEGIN; SELECT 1"];
    for (const [round, begin] of begins.entries()) {
      const backend = round % 2 === 0 ? early : await postgresBackend(through(client), { table, migrate: false });
      await everythingRefused(backend, async (body) => {
        await client.query(begin);
        await body();
        await client.query("COMMIT");
        for (const name of NAMES) assert.equal(await isLocked(name, { backend: other }), false);
      });
    }
    const lock = await getLock("held", { backend: early });
    await client.query("BEGIN");
    await assert.rejects(lock.renew(), REFUSED);
    await client.query("ROLLBACK");
    await client.query("BEGIN");
    await assert.rejects(unlock("held", { backend: early }), REFUSED);
    await client.query("ROLLBACK");
    await client.query("BEGIN");
    await assert.rejects(resetLocks({ backend: early }), REFUSED);
    await client.query("ROLLBACK");
    assert.equal(await lock.verify(), true);
    await renewLock("held", { backend: early });
    assert.equal(await lock.unlock(), true);
  });
}

test("lease: a transaction that has written is detected and refused", async () => {
  const table = freshTable();
  await using client = await openClient();
  await using backend = await postgresBackend(through(client), { table });
  await client.query(`CREATE TEMPORARY TABLE ${table}_things (id integer)`);
  await everythingRefused(backend, async (body) => {
    await client.query("BEGIN");
    await client.query(`INSERT INTO ${table}_things VALUES (1)`);
    await body();
    await client.query("ROLLBACK");
  });
});

test("lease: the table is not created inside a caller's transaction", async () => {
  await using client = await openClient();
  await using sql = administrator();
  const table = freshTable();
  await client.query("BEGIN");
  await assert.rejects(postgresBackend(through(client), { table }), REFUSED);
  await client.query("COMMIT");
  assert.deepEqual([...await sql`SELECT to_regclass(${table}) AS oid`], [{ oid: null }]);
});

test("lease: a pool's client in a transaction is refused, the pool is not", async () => {
  const pool = new pg.Pool({ connectionString: server.url, max: 3 });
  let query: PostgresExecutor = through(pool);
  await using backend = await postgresBackend((text, values) => query(text, values), { table: freshTable() });
  await (await getLock("a", { backend })).unlock();
  const client = await pool.connect();
  await client.query("BEGIN");
  query = through(client); // as a store of the current request would
  await assert.rejects(getLock("a", { backend }), REFUSED);
  await client.query("ROLLBACK");
  query = through(pool);
  assert.equal(await (await getLock("a", { backend })).unlock(), true);
  client.release();
  await pool.end();
});

test("lease: a pool that lends a client with an open transaction is refused until that has ended", async () => {
  const pool = new pg.Pool({ connectionString: server.url, max: 1 });
  const table = freshTable();
  await using backend = await postgresBackend(pool, { table });
  const use = async (statement: string) => {
    const client = await pool.connect();
    await client.query(statement).catch(() => {});
    client.release();
  };
  await (await getLock("a", { backend })).unlock();
  await use("BEGIN");
  await assert.rejects(getLock("a", { backend }), REFUSED);
  await use("SELECT 1 / 0");
  await assert.rejects(getLock("a", { backend }), REFUSED);
  await use("ROLLBACK");
  assert.equal(await (await getLock("a", { backend })).unlock(), true);
  await pool.end();
});

test("lease: postgres.js: a transaction and a reserved connection are refused, also inside a function", async () => {
  const table = freshTable();
  await using sql = administrator();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  const reserved = await sql.reserve();
  await assert.rejects(postgresBackend(reserved as unknown as postgres.Sql, { table }), TypeError);
  reserved.release();
  for (const migrate of [true, false]) {
    await assert.rejects(
      sql.begin(async (tx) => {
        await assert.rejects(postgresBackend(tx as unknown as postgres.Sql, { table }), TypeError);
        const backend = await postgresBackend((text, values) => tx.unsafe(text, values), { table, migrate });
        await getLock("a", { backend });
      }),
      REFUSED,
    );
  }
});

test("lease: a function that makes a transaction of each statement works", async () => {
  await using sql = administrator();
  const table = freshTable();
  const query: PostgresExecutor = (text, values) => sql.begin((tx) => tx.unsafe(text, values)) as Promise<object[]>;
  await using backend = await postgresBackend(query, { table });
  for (const name of NAMES) {
    const lock = await getLock(name, { backend });
    assert.equal(await tryLock(name, { backend }), undefined);
    await lock.renew();
    assert.equal(await lock.unlock(), true);
  }
});

test("lease: PGlite: a transaction is refused, the database is not", async () => {
  const lite = await PGlite.create();
  const query = through(lite as never);
  await using backend = await postgresBackend(query);
  const lock = await getLock("held", { backend });
  for (let round = 0; round < 5; round++) {
    const attempt = lite.transaction(async (tx) => {
      const inside = await postgresBackend(through(tx as never), { migrate: round % 2 === 0 });
      await getLock("a", { backend: inside });
    });
    await assert.rejects(attempt, REFUSED);
    assert.equal(await isLocked("a", { backend }), false);
    assert.equal(await (await getLock("a", { backend })).unlock(), true);
  }
  await lock.renew();
  assert.equal(await lock.unlock(), true);
  await lite.close();
});

test("lease: a simple driver needs one statement for each verb, one of the extended protocol two", async () => {
  const lite = await PGlite.create();
  await using sql = administrator();
  const functions = [
    [1, (text: string, values: unknown[]) => sql.unsafe(text, values as string[])],
    [2, through(lite as never)],
  ] as const;
  for (const [expected, query] of functions) {
    let statements = 0;
    await using backend = await postgresBackend((text, values) => (statements++, query(text, values)), {
      table: freshTable(),
    });
    await (await getLock("invoice:7", { backend })).unlock();
    const counted = async <T>(work: () => Promise<T>): Promise<T> => {
      statements = 0;
      const result = await work();
      assert.equal(statements, expected);
      return result;
    };
    const lock = await counted(() => getLock("invoice:7", { backend, metadata: { who: "me" } }));
    await counted(() => lock.renew());
    await counted(() => lock.unlock());
  }
  await lite.close();
});
