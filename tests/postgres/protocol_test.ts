/**
 * Every statement goes in the extended protocol, in which the server takes one statement and no second.
 *
 * @module
 */
import { getLock, listLocks, type Mode, resetLocks, setLock, tryLock } from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect as dial, createServer, type Socket } from "node:net";
import pg from "pg";
import postgres from "postgres";
import type { Client } from "../../backends/postgres/connection/client.ts";
import { ExternalPool } from "../../backends/postgres/connection/external_pool.ts";
import { ExternalSql } from "../../backends/postgres/connection/external_sql.ts";
import { OwnPool } from "../../backends/postgres/connection/own_pool.ts";
import { type Instance, sourceOf } from "../../backends/postgres/connection/driver.ts";
import { sourceOfPool } from "../../backends/postgres/connection/pg_connection.ts";
import { type PgPool, transactionOn } from "../../backends/postgres/connection/pg_driver.ts";
import { guardOn } from "../../backends/postgres/rows/guard.ts";
import { parseUrl } from "../../backends/postgres/options.ts";
import { openSession } from "../../backends/postgres/session/session.ts";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { freshTable, server } from "./server.ts";

/** Two statements in one text, as an injection would make them. */
const TWO = "SELECT 1::text AS one; SELECT 2::text AS two";
/** What the server says of them in the extended protocol. */
const ONE_ONLY = /cannot insert multiple commands into a prepared statement/;

test("every client refuses a second statement in one text", async () => {
  const source = await sourceOf(parseUrl(server.url).address.driver);
  const sql = postgres(server.url, { max_lifetime: null, max: 1, onnotice: () => {} });
  const pool = new pg.Pool({ connectionString: server.url, max: 2 });
  const lent = pool as unknown as PgPool;
  const clients: Client[] = [
    new OwnPool(source, 1),
    new ExternalSql(sql as unknown as Instance),
    new ExternalPool(lent, sourceOfPool(lent), 15),
  ];
  for (const client of clients) {
    for (const prepare of [false, true]) {
      client.prepare = prepare;
      await assert.rejects(client.send(TWO), ONE_ONLY);
      await assert.rejects(client.send(`${TWO} WHERE $1::text = ''`, ["it's"]), ONE_ONLY);
      await assert.rejects(client.send(`${TWO} WHERE $1::text = ''`, ["ü"]), ONE_ONLY);
    }
    await client.close();
  }
  for (const each of [source, sourceOfPool(lent)]) {
    const session = await openSession(each, 15);
    for (const prepare of [false, true]) await assert.rejects(session.send(TWO, [], prepare), ONE_ONLY);
    await session.close();
  }
  await assert.rejects(sql.begin((tx) => guardOn(tx, "guard", TWO, [])), ONE_ONLY);
  await sql.end();
  const client = await pool.connect();
  await client.query("BEGIN");
  const transaction = await transactionOn(client);
  await assert.rejects(async () => await transaction!.unsafe(TWO), ONE_ONLY);
  await client.query("ROLLBACK");
  client.release();
  await pool.end();
});

/** A relay that collects the types of messages that clients send after their greeting. */
async function listening(port: number): Promise<{ port: number; types: Set<string> } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const types = new Set<string>();
  const listener = createServer((client) => {
    const upstream = dial(port, "127.0.0.1");
    let left = new Uint8Array();
    let greeted = false;
    client.on("data", (chunk: Uint8Array) => {
      left = new Uint8Array([...left, ...chunk]);
      const start = () => greeted ? 1 : 0;
      while (left.length >= start() + 4) {
        const length = new DataView(left.buffer).getUint32(start()) + start();
        if (left.length < length) break;
        if (greeted) types.add(String.fromCharCode(left[0]));
        greeted = true;
        left = left.slice(length);
      }
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => client.write(chunk));
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from);
      from.on("close", () => to.destroy()).on("error", () => to.destroy());
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  return {
    port: (listener.address() as AddressInfo).port,
    types,
    async [Symbol.asyncDispose]() {
      const closed = once(listener, "close");
      listener.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

test("no verb of any mode uses the simple protocol", async () => {
  await using relay = await listening(server.port);
  const url = `postgres://postgres@127.0.0.1:${relay.port}/postgres`;
  const sql = postgres(url, { max_lifetime: null, max: 2, fetch_types: false, onnotice: () => {} });
  const pool = new pg.Pool({ connectionString: url, max: 2 });
  for (const mode of ["lease", "hybrid", "session"] as Mode[]) {
    for (const target of [url, sql, pool]) {
      const table = freshTable();
      await using backend = await postgresBackend(target, { mode, table });
      await using other = await postgresBackend(target, { mode, table });
      const rows = mode !== "session";
      const lock = await getLock("a", { backend, ...(rows ? { metadata: "it's" } : { expires: null }) });
      assert.equal(await tryLock("a", { backend: other, ...(rows ? {} : { expires: null }) }), undefined);
      const waiting = later(getLock("a", { backend: other, wait: 20, ...(rows ? {} : { expires: null }) }));
      await listLocks({ backend });
      await lock.verify();
      if (rows) await setLock(["b", "c"], { backend });
      if (rows) await lock.renew();
      await lock.unlock();
      await (await waiting).unlock();
      if (rows) await resetLocks({ backend });
      await using _advisory = await advisoryLock(backend, "a", { comment: "why" });
    }
  }
  await sql.end();
  await pool.end();
  assert(relay.types.has("P") && relay.types.has("B") && relay.types.has("X"), [...relay.types].join());
  assert(!relay.types.has("Q"), "a simple query was sent");
});
