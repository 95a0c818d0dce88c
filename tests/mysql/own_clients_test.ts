/** What a program does with its own pool while a backend uses it, too. */
import { BackendError, getLock, tryLock, withLock } from "@lockmgr/lockmgr";
import { mysqlBackend, TableLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { onEach } from "./flavors.ts";

onEach("locked tables are read and written as on the caller's pool, with the server's settings", async (place) => {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 2, timezone: "+05:00", decimalNumbers: true });
  await using backend = await mysqlBackend(pool);
  await pool.query("CREATE TABLE times (id INT PRIMARY KEY, at TIMESTAMP, on_day DATETIME, share DECIMAL(5, 2))");
  const row = [new Date("2026-06-15T12:00:00Z"), new Date("2026-06-15T12:00:00Z"), 1.5];
  const insert = "INSERT INTO times VALUES (?, ?, ?, ?)";
  await pool.query(insert, [1, ...row]);
  await new TableLock({ write: ["times"], backend }).run(async (held) => {
    await held.query(insert, [2, ...row]);
    const [settings] = await held.query(
      "SELECT @@time_zone = @@GLOBAL.time_zone AND @@sql_mode = @@GLOBAL.sql_mode AS same",
    );
    assert.equal(Number(settings.same), 1);
    assert.deepEqual((await held.query("SELECT * FROM times")).map((each) => Object.values(each).slice(1)), [row, row]);
  });
  const [rows] = await pool.query("SELECT * FROM times") as [object[], unknown];
  assert.deepEqual(rows.map((each) => Object.values(each).slice(1)), [row, row]);
  await backend[Symbol.asyncDispose]();
  await pool.end();
});

onEach("a name that another client guards is busy through a pool and a function, too", async (place) => {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 4 });
  const other = await place.backend();
  for (const target of [pool, (sql: string) => pool.query(sql)]) {
    await using backend = await mysqlBackend(target);
    await (await getLock("a", { backend: other })).unlock();
    const lock = await getLock("a", { backend: other });
    const client = await mysql.createConnection(place.url);
    await client.beginTransaction();
    await lock.guard(client);
    const startedAt = performance.now();
    assert.equal(await tryLock("a", { backend }), undefined);
    await assert.rejects(getLock("a", { backend, wait: 0.3 }), { name: "LockTimeout" });
    const took = performance.now() - startedAt;
    assert(took < 3_000, `${took} ms`);
    const waiting = later(getLock("a", { backend, wait: 30 }));
    await client.commit();
    await client.end();
    await lock.unlock();
    await (await waiting).unlock();
  }
  await pool.end();
});

onEach("a disposal releases locks while the program uses all connections of its pool", async (place) => {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 1 });
  const backend = await mysqlBackend(pool);
  await getLock("a", { backend, expires: null });
  const only = await pool.getConnection();
  await backend[Symbol.asyncDispose]();
  assert(await tryLock("a", { backend: await place.backend() }));
  only.release();
  await pool.end();
});

/** A request that waits for the caller's pool takes up to the answer timeout of 15 s; one that does not is answered within this (ms). */
const AT_ONCE_MS = 3_000;

onEach("leases are kept, and requests answered, while the program uses all connections of its pool", async (place) => {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 2 });
  await using backend = await mysqlBackend(pool);
  await using lock = await getLock("a", { backend, expires: 3, autoRenew: true });
  const all = [await pool.getConnection(), await pool.getConnection()];
  for (const connection of all) await connection.beginTransaction();
  const before = lock.lockedUntil!.getTime();
  const startedAt = performance.now();
  const other = await getLock("b", { backend });
  assert.equal(await tryLock("a", { backend }), undefined);
  assert.equal(await other.unlock(), true);
  const took = performance.now() - startedAt;
  assert(took < AT_ONCE_MS, `${took} ms`);
  while (lock.lockedUntil!.getTime() === before && lock.held) await new Promise((resolve) => setTimeout(resolve, 20));
  await lock.guard(all[0]);
  for (const connection of all) {
    await connection.commit();
    connection.release();
  }
  await backend[Symbol.asyncDispose]();
  await pool.end();
});

onEach("a pool is waited for where the server allows no further connection", async (place) => {
  const user = `one_${place.name}`.slice(0, 32);
  await place.ask(`CREATE USER ${user} WITH MAX_USER_CONNECTIONS 1`, `GRANT ALL ON ${place.name}.* TO ${user}`);
  const url = new URL(place.url);
  url.username = user;
  url.password = "";
  const pool = mysql.createPool({ uri: url.href, connectionLimit: 1 });
  await using backend = await mysqlBackend(pool);
  const connection = await pool.getConnection();
  const waiting = later(getLock("a", { backend, expires: 60 }));
  await new Promise((resolve) => setTimeout(resolve, 50));
  connection.release();
  assert.equal(await (await waiting).unlock(), true);
  await backend[Symbol.asyncDispose]();
  await pool.end();
});

onEach("a pool that lets no caller wait is waited for", async (place) => {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 1, waitForConnections: false });
  await using backend = await mysqlBackend(pool);
  const lock = await getLock("a", { backend });
  const only = await pool.getConnection();
  const waiting = later(getLock("b", { backend, wait: 30 }));
  const releasing = later(lock.unlock());
  only.release();
  await (await waiting).unlock();
  assert.equal(await releasing, true);
  await Promise.all(["c", "d", "e"].map((name) => withLock(name, { backend }, () => {})));
  await backend[Symbol.asyncDispose]();
  await pool.end();
});

onEach("a silent server is no table lock of another client", async (place) => {
  await using proxy = await Proxy.start(place.server.port);
  const url = new URL(place.url);
  url.port = String(proxy.port);
  await using backend = await mysqlBackend(url);
  proxy.last = "lock_wait_timeout = 1, innodb"; // LOCK TABLES does not arrive
  await assert.rejects(new TableLock({ write: ["lockmgr_locks"], acquireTimeout: 1, backend }).acquire(), BackendError);
});
