import { type Backend, connect, getLock, listLocks, tryLock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect as dial, createServer, type Socket } from "node:net";
import pg from "pg";
import postgres from "postgres";
import { test } from "../harness.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { freshTable, server } from "./server.ts";

/** A relay that counts how often the client spoke after it had listened. */
async function counting(port: number): Promise<{ port: number; trips: number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const listener = createServer((client) => {
    const upstream = dial(port, "127.0.0.1");
    let speaking = false;
    client.on("data", (chunk) => {
      if (!speaking) relay.trips++;
      speaking = true;
      upstream.write(chunk);
    });
    upstream.on("data", (chunk) => {
      speaking = false;
      client.write(chunk);
    });
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from);
      from.on("close", () => to.destroy()).on("error", () => to.destroy());
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const relay = {
    port: (listener.address() as AddressInfo).port,
    trips: 0,
    async [Symbol.asyncDispose]() {
      const closed = once(listener, "close");
      listener.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return relay;
}

/** Ways to the server, each through a relay that counts. */
const WAYS: Record<string, (port: number) => Promise<{ backend: Backend; end(): Promise<void> }>> = {
  "behind a pooler": async (port) => {
    const backend = await connect(`postgres://postgres@127.0.0.1:${port}/postgres`, { table: freshTable() });
    return { backend, end: () => Promise.resolve() };
  },
  "through a pool of node-postgres": async (port) => {
    const pool = new pg.Pool({ connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`, max: 2 });
    return { backend: await postgresBackend(pool, { table: freshTable() }), end: () => pool.end() };
  },
};

for (const [way, open] of Object.entries(WAYS)) {
  test(`${way} each verb is one round trip`, async () => {
    await using pooler = await PgBouncer.start(server.port);
    await using relay = await counting(way === "behind a pooler" ? pooler.port : server.port);
    const { backend, end } = await open(relay.port);
    await (await getLock("warm", { backend })).unlock();
    const counted = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
      relay.trips = 0;
      return [await work(), relay.trips];
    };
    const [lock, acquired] = await counted(() =>
      getLock("ñ", { backend, metadata: { who: "it's me", path: "C:\\", city: "東京", of: "$1 ? :a" } })
    );
    const [, failed] = await counted(() => tryLock("ñ", { backend }));
    const [, renewed] = await counted(() => lock.renew());
    const [[listed], asked] = await counted(() => listLocks({ backend }));
    const [, released] = await counted(() => lock.unlock());
    assert.deepEqual({ acquired, failed, renewed, asked, released }, {
      acquired: 1,
      failed: 1,
      renewed: 1,
      asked: 1,
      released: 1,
    });
    assert.deepEqual(listed.metadata, lock.metadata);
    await backend[Symbol.asyncDispose]();
    await end();
  });
}

test("names are kept as they are, also with standard_conforming_strings = off", async () => {
  const connection = { standard_conforming_strings: "off", backslash_quote: "on", escape_string_warning: "off" };
  const sql = postgres(server.url, {
    max_lifetime: null,
    prepare: false,
    max: 1,
    connection: connection as object,
    onnotice: () => {},
  });
  const backend = await postgresBackend(sql, { table: freshTable() });
  const names = [
    "'",
    "\\",
    "\\'",
    "''; DROP TABLE x; --",
    "$1",
    "$2 $$",
    "E'\\x27",
    "ü'\\",
    "\u0085",
    "\\u0027",
    "a\nb",
  ];
  for (const name of names) {
    const lock = await getLock(name, { backend, lockedBy: name, metadata: { name } });
    assert.deepEqual([lock.name, lock.lockedBy, lock.metadata], [name, name, { name }]);
  }
  assert.deepEqual((await listLocks({ backend })).map(({ name }) => name).sort(), [...names].sort());
  await backend[Symbol.asyncDispose]();
  await sql.end();
});
