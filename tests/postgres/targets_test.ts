import { connect, getLock, listLocks, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { connect as dial, createServer } from "node:net";
import { once } from "node:events";
import { turn } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, server } from "./server.ts";

/** What providers, ORMs and other clients print behind a URL, which a server without TLS must take. */
const PRINTED = [
  "channel_binding=require",
  "channel_binding=prefer&sslmode=prefer",
  "sslmode=disable",
  "sslmode=allow",
  "ssl=false",
  "gssencmode=disable",
  "schema=public",
  "currentSchema=public",
  "pgbouncer=true&connection_limit=1&pool_timeout=20&statement_cache_size=0",
  "single_use_connections=true&socket_timeout=3",
  "application_name=shop&connect_timeout=10&options=-c%20statement_timeout%3D9000",
  "target_session_attrs=read-write",
  "target_session_attrs=any&load_balance_hosts=disable",
  "keepalives=1&keepalives_idle=30&keepalives_interval=10&keepalives_count=3&tcp_user_timeout=5000",
  "client_encoding=UTF8&fallback_application_name=x",
  "ApplicationName=shop&prepareThreshold=0&tcpKeepAlive=true&reWriteBatchedInserts=true&socketTimeout=30",
  "statement_timeout=9000&lock_timeout=9000&search_path=public",
  "uselibpqcompat=true&sslmode=prefer&supa=base-pooler.x",
];

test("targets: parameters of providers and ORMs are accepted", async () => {
  const table = freshTable();
  await using first = await connect(server.url, { table });
  await getLock("a", { backend: first });
  for (const parameters of PRINTED) {
    for (const mode of ["lease", "session"] as const) {
      await using backend = await connect(`${server.url}?${parameters}`, { table, mode });
      if (mode === "lease") assert.equal(await tryLock("a", { backend }), undefined, parameters);
      else assert((await getLock(parameters, { backend, expires: undefined })).held);
    }
  }
});

test("targets: parameters that are honoured reach the server", async () => {
  await using sql = administrator();
  const url = `${server.url}?application_name=bazaar+7&options=-c%20lock_timeout%3D7s&statement_timeout=8s`;
  await using backend = await connect(url, { mode: "hybrid", table: freshTable() });
  await using _lock = await getLock("a", { backend });
  const rows =
    await sql`SELECT DISTINCT application_name AS name FROM pg_stat_activity WHERE application_name LIKE 'bazaar%'`;
  assert.deepEqual(rows.map(({ name }) => name), ["bazaar+7"]);
});

test("targets: parameters may name the server", async () => {
  const { port } = new URL(server.url);
  const table = freshTable();
  const places = [
    `postgres:///postgres?host=127.0.0.1&port=${port}&user=postgres`,
    `postgres://127.0.0.1/postgres?port=${port}&user=postgres`,
    `postgres://127.0.0.1:${port}/?dbname=postgres&user=postgres`,
    `postgres://postgres@${encodeURIComponent(server.socketDirectory)}:${port}/postgres`,
    `postgres:///postgres?host=${encodeURIComponent(server.socketDirectory)}&port=${port}&user=postgres`,
    `postgres://postgres@127.0.0.1:1,127.0.0.1:${port}/postgres`,
  ];
  for (const place of places) {
    await using backend = await connect(place, { table });
    assert((await getLock(place, { backend })).held);
  }
});

test("targets: sslmode=require and stricter modes refuse a server without TLS at once", async () => {
  for (const parameters of ["sslmode=require", "sslmode=verify-full", "ssl=true", "sslaccept=strict", "requiressl=1"]) {
    for (const mode of ["lease", "session", "hybrid"] as const) {
      await assert.rejects(connect(`${server.url}?${parameters}`, { mode, table: freshTable() }), (error: Error) => {
        assert.equal(error.name, "BackendError", String(error));
        assert.match(error.message, /the server does not support TLS/);
        return true;
      });
    }
  }
  await turn(); // the driver's timer to connect again, which then does nothing
});

test("targets: modes of TLS on a server that has it", async () => {
  await using own = await PostgresServer.start({
    tls: true,
    hba: ["hostssl all all all trust", "hostnossl all all all reject"],
  });
  const url = own.url.replace("127.0.0.1", "localhost");
  const { mkdtemp, rm, writeFile } = await import("node:fs/promises");
  const { tmpdir } = await import("node:os");
  const directory = await mkdtemp(`${tmpdir()}/lockmgr-`);
  await writeFile(`${directory}/root.crt`, own.certificate);
  const root = `sslrootcert=${directory}/root.crt`;
  for (
    const good of [
      "sslmode=require",
      "sslmode=prefer",
      "sslmode=allow",
      `sslmode=verify-full&${root}`,
      `sslmode=verify-ca&${root}`,
      `sslmode=require&${root}`,
    ]
  ) {
    await using backend = await connect(`${url}?${good}&channel_binding=require`, { table: freshTable() });
    assert((await getLock("a", { backend })).held, good);
  }
  await using byAddress = await connect(`${own.url}?sslmode=verify-ca&${root}`, { table: freshTable() });
  assert.equal(byAddress.mode, "lease");
  for (
    const bad of ["sslmode=disable", "sslmode=verify-full", "sslmode=verify-ca", "sslmode=require&sslaccept=strict"]
  ) {
    await assert.rejects(connect(`${url}?${bad}`, { table: freshTable() }), { name: "BackendError" }, bad);
  }
  await assert.rejects(connect(`${own.url}?sslmode=verify-full&${root}`, { table: freshTable() }), {
    name: "BackendError",
  });
  await rm(directory, { recursive: true });
});

test("targets: an IPv6 address, in brackets", async () => {
  const proxy = createServer((client) => {
    const upstream = dial(server.port, "127.0.0.1");
    for (const [from, to] of [[client, upstream], [upstream, client]]) from.pipe(to).on("error", () => from.destroy());
  }).listen(0, "::1");
  await once(proxy, "listening");
  const { port } = proxy.address() as { port: number };
  for (const mode of ["lease", "session", "hybrid"] as const) {
    for (
      const url of [`postgres://postgres@[::1]:${port}/postgres`, `postgres://postgres@/postgres?host=::1&port=${port}`]
    ) {
      await using backend = await connect(url, { mode, table: freshTable() });
      assert((await getLock("a", { backend, ...mode === "session" ? { expires: undefined } : {} })).held);
    }
  }
  proxy.close();
  await once(proxy, "close");
});

test("targets: schema=NAME puts a table without a schema there", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe("CREATE SCHEMA tenant");
  await using own = await connect(`${server.url}?schema=tenant`, { table });
  await using other = await connect(server.url, { table });
  await using qualified = await connect(server.url, { table: `tenant.${table}` });
  await getLock("a", { backend: own });
  assert((await getLock("a", { backend: other })).held);
  assert.equal(await tryLock("a", { backend: qualified }), undefined);
  assert.equal((await listLocks({ backend: own })).length, 1);
});

test("targets: an unknown parameter is refused before anything is sent", async () => {
  let connections = 0;
  const listener = createServer((socket) => (connections++, socket.destroy())).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as { port: number };
  for (
    const wrong of ["sslmod=require", "host=a b", "port=x", "connect_timeout=soon", "schema=a.b", "require_auth=none"]
  ) {
    await assert.rejects(connect(`postgres://u:p@127.0.0.1:${port}/d?${encodeURI(wrong)}`), TypeError, wrong);
  }
  listener.close();
  await once(listener, "close");
  assert.equal(connections, 0);
});

test("targets: errors do not show the user", async () => {
  const { port } = new URL(server.url);
  const secret = "zqSECRETqz";
  const { inspect } = await import("node:util");
  const wrong = [
    `postgres://${secret}:x@127.0.0.1:${port}/postgres`,
    `postgres://postgres@127.0.0.1:${port}/postgres?user=${secret}`,
    `postgres://postgres@127.0.0.1:${port}/postgres?role=${secret}`,
    `postgres://postgres@127.0.0.1:${port}/postgres?options=-c%20${secret}%3D1`,
    `postgres://postgres@127.0.0.1:${port}/postgres?options=--${secret}`,
    `postgres://postgres@127.0.0.1:${port}/postgres?statement_timeout=${secret}`,
    `postgres://${secret}@127.0.0.1:${port}/missing`,
  ];
  for (const url of wrong) {
    for (const mode of ["lease", "session", "hybrid"] as const) {
      await assert.rejects(connect(url, { mode }), (error: Error) => {
        assert.equal(error.name, "BackendError");
        assert(!inspect(error, { depth: 9, showHidden: true }).includes(secret), inspect(error));
        return true;
      });
    }
  }
  await assert.rejects(connect(`postgres://postgres@127.0.0.1:${port}/missing`), /database "missing" does not exist/);
});
