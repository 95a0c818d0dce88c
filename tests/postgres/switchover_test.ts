import { connect, getLock, isLocked, listLocks, LockLost, resetLocks, setLock, tryLock } from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend, type PostgresOptions } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import { takesAgain } from "../clusters/takes_again.ts";
import { aborted, later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, channelOf, freshTable, listeners, until } from "./server.ts";

const MODES = ["lease", "hybrid", "session"] as const;

/** How long a waiter may take to learn of a release on the new primary (ms): it polls once a second. */
const HEARD = 5_000;

/** Two servers, either of which may be the primary, and an address that leads to one of them. */
const servers = [await PostgresServer.start(), await PostgresServer.start()];

async function addressOf(index: number): Promise<{ proxy: Proxy; url: string; move(index: number): void }> {
  const proxy = await Proxy.start(servers[index].port);
  const url = `postgres://postgres@127.0.0.1:${proxy.port}/postgres`;
  return { proxy, url, move: (index) => void (proxy.to = servers[index].port) };
}

/** Makes a server refuse writes, or take them again, without ending a connection. */
async function setReadOnly(index: number, on: boolean): Promise<void> {
  await using sql = administrator(servers[index].url);
  await sql.unsafe(`ALTER SYSTEM SET default_transaction_read_only = ${on ? "on" : "off"}`);
  await sql.unsafe("SELECT pg_reload_conf()");
  await until("the setting is read", async () => {
    await using fresh = administrator(servers[index].url);
    const [row] = await fresh.unsafe("SHOW default_transaction_read_only");
    return row.default_transaction_read_only === (on ? "on" : "off");
  });
}

/** How a program gives the address. */
const WAYS = {
  async "a URL"(url: string, options: PostgresOptions) {
    const backend = await postgresBackend(url, options);
    return { backend, [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose]() };
  },
  async "a pool of node-postgres"(url: string, options: PostgresOptions) {
    const pool = new pg.Pool({ connectionString: url, max: 5 });
    const used = await Promise.all(Array.from({ length: 5 }, () => pool.connect()));
    for (const client of used) client.release();
    const backend = await postgresBackend(pool, options);
    return {
      backend,
      async [Symbol.asyncDispose]() {
        await backend[Symbol.asyncDispose]();
        await pool.end();
      },
    };
  },
};

for (const mode of MODES) {
  for (const [way, open] of Object.entries(WAYS)) {
    test(`switchover: ${mode} by ${way}: the same backend acquires locks on the new primary`, async () => {
      const { proxy, url, move } = await addressOf(0);
      await using _ = proxy;
      const table = freshTable();
      await using opened = await open(url, { mode, table, sessionTimeout: 3 });
      const { backend } = opened;
      await using second = await connect(servers[1].url, { mode, table });
      const before = await getLock("before", { backend });
      const lost = aborted(before.signal);
      await setReadOnly(0, true);
      move(1);
      const lock = await takesAgain(backend, "after");
      assert.equal(await tryLock("after", { backend: second }), undefined, "it is held on the new primary");
      assert(lock.token > before.token);
      assert.equal(await lock.verify(), true);
      if (mode !== "lease") {
        assert(await lost instanceof LockLost);
        assert.equal(await before.verify(), false);
      }
      assert.equal(await lock.unlock(), true);
      await setReadOnly(0, false);
    });
  }

  test(`switchover: ${mode}: two backends never hold one name`, async () => {
    const { proxy, url, move } = await addressOf(0);
    await using _ = proxy;
    const table = freshTable();
    await using early = await connect(url, { mode, table });
    await (await getLock("a", { backend: early })).unlock();
    await setReadOnly(0, true);
    move(1);
    await using late = await connect(url, { mode, table });
    const lock = await getLock("a", { backend: late });
    for (let tries = 0; tries < 3; tries++) {
      assert.equal(await tryLock("a", { backend: early }).catch(() => undefined), undefined);
    }
    assert.equal(await lock.unlock(), true);
    await (await takesAgain(early, "a")).unlock();
    await setReadOnly(0, false);
  });

  test(`demotion in place: ${mode}: the backend goes on once the server is the primary again`, async () => {
    const table = freshTable();
    await using backend = await connect(servers[0].url, { mode, table });
    await (await getLock("a", { backend })).unlock();
    await setReadOnly(0, true);
    const refused = { name: "BackendError", retryable: true, message: /read-only/ };
    for (const name of ["a", "b"]) await assert.rejects(tryLock(name, { backend }), refused);
    await setReadOnly(0, false);
    for (const name of ["a", "b"]) await (await takesAgain(backend, name)).unlock();
  });
}

for (const mode of MODES) {
  test(`switchover: ${mode}: a waiter that listens to the old server hears of a release on the new primary`, async () => {
    const { proxy, url, move } = await addressOf(0);
    await using _ = proxy;
    const table = freshTable();
    await using backend = await connect(url, { mode, table });
    await using other = await connect(servers[0].url, { mode, table });
    await using successor = await connect(servers[1].url, { mode, table });
    await getLock("a", { backend: other });
    const holder = await getLock("a", { backend: successor });
    const waiting = later(getLock("a", { backend, wait: 20 }));
    await using sql = administrator(servers[0].url);
    await until("the waiter listens", async () => (await listeners(sql)).length > 0);
    await setReadOnly(0, true);
    move(1);
    assert.equal(await holder.unlock(), true);
    const releasedAt = performance.now();
    const lock = await waiting;
    const took = performance.now() - releasedAt;
    assert(took < HEARD, `after ${took} ms`);
    assert.equal(await lock.unlock(), true);
    await setReadOnly(0, false);
  });

  test(`demotion in place: ${mode}: a holder is answered rightly or with an error that may pass`, async () => {
    const { proxy, url, move } = await addressOf(0);
    await using _ = proxy;
    const table = freshTable();
    await using backend = await connect(url, { mode, table });
    await using _successor = await connect(servers[1].url, { mode, table });
    await using sql = administrator(servers[0].url);
    const lock = await getLock("a", { backend });
    const renewed = mode === "session" ? lock : await getLock("b", { backend, expires: 8, autoRenew: true });
    const lost = aborted(renewed.signal);
    await setReadOnly(0, true);
    if (mode === "session") { // nothing but the session says that it is held
      assert.equal(await lock.verify(), false);
      assert.equal(await isLocked("a", { backend }), false);
    } else {
      assert.equal(await isLocked("a", { backend }), true);
      assert.equal((await listLocks({ backend })).length, 2);
      const refused = { name: "BackendError", retryable: true, message: /read-only/ };
      assert.equal(await lock.verify(), true);
      await assert.rejects(lock.renew(), refused);
      await assert.rejects(sql.begin((tx) => lock.guard(tx)), refused);
      await assert.rejects(setLock("c", { backend }), refused);
      await assert.rejects(resetLocks({ backend }), refused);
      await assert.rejects(lock.unlock(), refused);
    }
    move(1);
    assert(await lost instanceof LockLost);
    await (await takesAgain(backend, "a")).unlock();
    await setReadOnly(0, false);
  });
}

test("switchover: hybrid: the address moves while the old server still takes writes", async () => {
  const { proxy, url, move } = await addressOf(0);
  await using _ = proxy;
  const table = freshTable();
  await using backend = await connect(url, { mode: "hybrid", table });
  await using second = await connect(servers[1].url, { mode: "hybrid", table });
  await (await getLock("a", { backend })).unlock();
  move(1);
  await using sql = administrator(servers[0].url);
  const statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() " +
    "AND backend_type = 'client backend' AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_stat_activity.pid " +
    "AND l.locktype = 'advisory')";
  await sql.unsafe(statement); // the connections of the rows, and not the session
  const lock = await takesAgain(backend, "a");
  assert.equal(await tryLock("a", { backend: second }), undefined);
  assert.equal(await lock.unlock(), true);
});

test("switchover: hybrid: a waiter goes where its session goes while the old server still takes writes", async () => {
  const { proxy, url, move } = await addressOf(0);
  await using _ = proxy;
  const table = freshTable();
  await using backend = await connect(url, { mode: "hybrid", table });
  await using other = await connect(servers[0].url, { mode: "hybrid", table });
  await using successor = await connect(servers[1].url, { mode: "hybrid", table });
  const held = await getLock("a", { backend: other });
  const waiting = later(getLock("a", { backend, wait: 20 }));
  await using sql = administrator(servers[0].url);
  await channelOf(sql, table, "a");
  move(1);
  await sql.unsafe(`SELECT pg_terminate_backend((line[1]->>'session')::int) FROM ${table}`);
  await held.unlock();
  const lock = await waiting;
  assert.equal(await tryLock("a", { backend: successor }), undefined);
  assert.equal(await lock.unlock(), true);
});

test("switchover: advisory locks go to the new primary", async () => {
  const { proxy, url, move } = await addressOf(0);
  await using _ = proxy;
  await using backend = await connect(url, { table: freshTable() });
  const old = await advisoryLock(backend, "a");
  const lost = aborted(old.signal);
  await setReadOnly(0, true);
  await assert.rejects(advisoryLock(backend, "b", { wait: false }), { name: "BackendError", retryable: true });
  assert(await lost instanceof LockLost);
  move(1);
  await using lock = await advisoryLock(backend, "a", { wait: false });
  assert.equal(lock.acquired, true);
  assert.equal(await old.release(), false);
  await setReadOnly(0, false);
});
