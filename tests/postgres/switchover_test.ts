import { type Backend, BackendError, connect, getLock, type Lock, LockLost, tryLock } from "@lockmgr/lockmgr";
import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { aborted } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, until } from "./server.ts";

const MODES = ["lease", "hybrid", "session"] as const;

/** How long a backend may take from its first error until it takes locks again (ms). */
const AGAIN = 2_000;

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

/** Takes a name, which has to succeed within {@linkcode AGAIN} of the first error. */
async function takesAgain(backend: Backend, name: string): Promise<Lock> {
  let failedAt: number | undefined;
  for (;;) {
    try {
      const lock = await tryLock(name, { backend });
      assert(lock, "the name is free");
      return lock;
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      assert.equal(error.retryable, true, error.message);
      failedAt ??= performance.now();
      assert(performance.now() - failedAt < AGAIN, `still: ${error.message}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

for (const mode of MODES) {
  test(`switchover: ${mode}: the same backend acquires locks on the new primary`, async () => {
    const { proxy, url, move } = await addressOf(0);
    await using _ = proxy;
    const table = freshTable();
    await using backend = await connect(url, { mode, table, sessionTimeout: 3 });
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
