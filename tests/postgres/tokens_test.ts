import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, server } from "./server.ts";

const mode: Mode = "session";

test("session: a dropped sequence is created again, and tokens increase", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { mode, table });
  await using sql = administrator();
  let last = (await getLock("held", { backend })).token;
  for (let round = 0; round < 3; round++) {
    await sql.unsafe(`DROP SEQUENCE ${table}_token`);
    const locks = await Promise.all(["a", "b", "c"].map((name) => getLock(name, { backend })));
    for (const lock of locks) assert(lock.token > last, `${lock.token} after ${last}`);
    last = locks.map(({ token }) => token).sort((a, b) => Number(a - b)).at(-1)!;
    for (const lock of locks) assert.equal(await lock.unlock(), true);
  }
  await sql.unsafe(`DROP SEQUENCE ${table}_token`);
  await using another = await connect(server.url, { mode, table });
  assert((await getLock("a", { backend: another })).token > last);
});

test("session: with migrate: false a dropped sequence is a clear error", async () => {
  const table = freshTable();
  await (await connect(server.url, { mode, table }))[Symbol.asyncDispose]();
  await using backend = await connect(server.url, { mode, table, migrate: false });
  await (await getLock("a", { backend })).unlock();
  await using sql = administrator();
  await sql.unsafe(`DROP SEQUENCE ${table}_token`);
  const refused = { name: "BackendError", message: /sequence ".*_token" does not exist, and "migrate" is off/ };
  await assert.rejects(getLock("a", { backend }), refused);
  await sql.unsafe(`CREATE SEQUENCE ${table}_token`);
});

test("session: a role that may only draw tokens acquires locks", async () => {
  const table = freshTable();
  await (await connect(server.url, { mode, table }))[Symbol.asyncDispose]();
  await using sql = administrator();
  await sql.unsafe(`CREATE ROLE drawer LOGIN; GRANT USAGE ON SEQUENCE ${table}_token TO drawer`);
  {
    await using backend = await connect(server.urlOf("postgres", "drawer"), { mode, table });
    await (await getLock("a", { backend })).unlock();
  }
  await sql.unsafe(`REVOKE ALL ON SEQUENCE ${table}_token FROM drawer; DROP ROLE drawer`);
});

test("session: tokens increase across crashes of a server that does not wait for the disk", async () => {
  await using own = await PostgresServer.start({ settings: { synchronous_commit: "off", wal_writer_delay: "10s" } });
  const table = freshTable();
  let last = 0n;
  for (let round = 0; round < 2; round++) {
    const backend = await connect(own.url, { mode, table });
    for (let count = 0; count < 100; count++) {
      const lock = await getLock("a", { backend });
      assert(lock.token > last, `${lock.token} after ${last}, in round ${round}`);
      last = lock.token;
      await lock.unlock();
    }
    await own.crash();
    await backend[Symbol.asyncDispose]();
    await own.start();
  }
});

test("session: tokens increase after a failover to a server without the last ones", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { mode, table });
  const before = await getLock("a", { backend });
  await before.unlock();
  await using sql = administrator();
  await sql.unsafe(`SELECT setval('${table}_token', 34)`); // as a replica knew it that was behind
  await using another = await connect(server.url, { mode, table });
  assert((await getLock("a", { backend: another })).token > before.token);
});

test("session: tokens increase where the clock is behind them", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { mode, table });
  await (await getLock("a", { backend })).unlock();
  await using sql = administrator();
  // As if the clock had been set back an hour since.
  await sql.unsafe(
    `SELECT setval('${table}_token', (extract(epoch FROM clock_timestamp()) * 1e6)::bigint + 3600000000)`,
  );
  const before = await getLock("a", { backend });
  await before.unlock();
  await using another = await connect(server.url, { mode, table });
  const after = await getLock("a", { backend: another });
  assert(after.token > before.token);
  assert(after.token < 2n ** 53n);
});
