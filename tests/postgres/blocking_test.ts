import { type Backend, connect, getLock, type Lock, LockTimeout, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** A backend whose waiters block in the server. */
function open(table: string, url = server.url): Promise<Backend> {
  return connect(url, { mode: "session", table, blocking: true });
}

/** How many block in the server. */
async function blocked(): Promise<number> {
  await using sql = administrator();
  const [row] = await sql`SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`;
  return row.count;
}

/** How many connections of ours the server has. */
async function connections(): Promise<number> {
  await using sql = administrator();
  const [row] = await sql`SELECT count(*)::int FROM pg_stat_activity WHERE application_name LIKE 'lockmgr%'`;
  return row.count;
}

test("blocking: the lock goes over in the order in which processes came", async () => {
  const table = freshTable();
  await using first = await open(table);
  await using second = await open(table);
  await using third = await open(table);
  const holder = await getLock("a", { backend: first });
  const order: string[] = [];
  const waiting: Promise<void>[] = [];
  for (const [index, backend] of [second, third, first].entries()) {
    waiting.push(
      getLock("a", { backend, wait: 20 }).then(async (lock) => {
        order.push(["second", "third", "first again"][index]);
        assert(lock.token > holder.token);
        assert.equal(await lock.verify(), true);
        await lock.unlock();
      }),
    );
    await until(`${index + 1} block`, async () => await blocked() === index + 1);
  }
  await holder.unlock();
  await Promise.all(waiting);
  assert.deepEqual(order, ["second", "third", "first again"]);
  assert.equal(await blocked(), 0);
});

test("blocking: many tasks in several processes never hold one name together", async () => {
  const table = freshTable();
  const backends = [await open(table), await open(table), await connect(server.url, { mode: "session", table })];
  let inside = 0, most = 0, last = 0n;
  await Promise.all(backends.flatMap((backend) =>
    Array.from({ length: 3 }, async () => {
      for (let round = 0; round < 8; round++) {
        const lock = await getLock("a", { backend, wait: 30 });
        most = Math.max(most, ++inside);
        assert(lock.token > last);
        last = lock.token;
        await new Promise((resolve) => setTimeout(resolve, 0));
        inside--;
        assert.equal(await lock.unlock(), true);
      }
    })
  ));
  assert.equal(most, 1);
  for (const backend of backends) await backend[Symbol.asyncDispose]();
  assert.equal(await blocked(), 0);
});

test("blocking: a wait that ends, by time or by signal, leaves no place in the queue behind", async () => {
  const table = freshTable();
  await using backend = await open(table);
  await using other = await open(table);
  await using _held = await getLock("a", { backend: other });
  const before = await connections();
  await assert.rejects(getLock("a", { backend, wait: 0.1 }), LockTimeout);
  for (let round = 0; round < 10; round++) {
    const controller = new AbortController();
    const waiting = getLock("a", { backend, wait: Infinity, signal: controller.signal });
    if (round % 2) await until("it blocks", async () => await blocked() === 1); // else it is called off on its way there
    controller.abort(new Error("enough"));
    await assert.rejects(waiting, /enough/);
  }
  await until("nobody blocks", async () => await blocked() === 0);
  assert(await connections() - before <= 3);
  assert.equal(await tryLock("a", { backend }), undefined);
});

test("blocking: a grant that comes when the wait is just over is given back", async () => {
  const table = freshTable();
  await using backend = await open(table);
  await using other = await connect(server.url, { mode: "session", table });
  for (let round = 0; round < 20; round++) {
    const held = await getLock("a", { backend: other, wait: 5 });
    const controller = new AbortController();
    const waiting = getLock("a", { backend, wait: 5, signal: controller.signal });
    await until("it blocks", async () => await blocked() === 1);
    const released = held.unlock();
    controller.abort();
    await waiting.then((lock) => lock.unlock(), () => {});
    await released;
  }
  assert((await getLock("a", { backend: other, wait: 5 })).held);
});

test("blocking: the loss of the connection during the wait costs the place, not the wait", async () => {
  const table = freshTable();
  await using proxy = await Proxy.start(server.port);
  await using backend = await open(table, `postgres://postgres@127.0.0.1:${proxy.port}/postgres`);
  await using other = await open(table);
  const held = await getLock("a", { backend: other });
  const waiting = getLock("a", { backend, wait: 30 });
  await until("it blocks", async () => await blocked() === 1);
  await using sql = administrator();
  const places = async () =>
    (await sql`
    SELECT pid || ' ' || query_start AS place FROM pg_stat_activity JOIN pg_locks USING (pid)
    WHERE locktype = 'advisory' AND NOT granted`).map(({ place }) => place);
  const lose = [
    async () =>
      void await sql`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`,
    async () => void await sql`SELECT pg_cancel_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted`,
    () => Promise.resolve(proxy.cut()), // the server does not hear of it before it looks
  ];
  for (const loss of lose) {
    const [before] = await places();
    await loss();
    await until("it blocks in another place", async () => {
      const now = await places();
      return now.length === 1 && now[0] !== before;
    });
  }
  await held.unlock();
  const lock = await waiting;
  assert.equal(await lock.unlock(), true);
});

test("blocking: limits that an operator has set for ordinary statements do not end a wait", async () => {
  const table = freshTable();
  const limits = encodeURIComponent("-c statement_timeout=200 -c lock_timeout=100 -c transaction_timeout=200");
  await using sql = administrator();
  const [{ version }] = await sql`SELECT current_setting('server_version_num')::int AS version`;
  const options = version >= 170_000 ? limits : limits.replace(/%20-c%20transaction.*$/, "");
  await using backend = await open(table, `${server.url}?options=${options}`);
  await using other = await open(table);
  const held = await getLock("a", { backend: other });
  const waiting = getLock("a", { backend, wait: 20 });
  const place = async () => {
    const [row] = await sql`SELECT pid || ' ' || query_start AS place FROM pg_stat_activity JOIN pg_locks USING (pid)
      WHERE locktype = 'advisory' AND NOT pg_locks.granted`;
    return row?.place;
  };
  await until("it blocks", async () => await place() !== undefined);
  const before = await place();
  await new Promise((resolve) => setTimeout(resolve, 500)); // longer than the limits
  assert.equal(await place(), before);
  await held.unlock();
  await (await waiting).unlock();
});

test("blocking: connections are bounded, and everybody is served all the same", async () => {
  const table = freshTable();
  await using backend = await open(table);
  await using other = await connect(server.url, { mode: "session", table });
  const names = Array.from({ length: 24 }, (_, index) => `name ${index}`);
  const before = await connections();
  const held = await Promise.all(names.map((name) => getLock(name, { backend: other })));
  const waiting = names.map((name) => getLock(name, { backend, wait: 30 }));
  await until("16 block", async () => await blocked() === 16);
  assert(await connections() - before <= 18);
  await Promise.all(held.map((lock) => lock.unlock()));
  const locks = await Promise.all(waiting);
  assert(await connections() - before <= 18);
  assert.deepEqual(await Promise.all(locks.map((lock) => lock.unlock())), names.map(() => true));
});

test("blocking: the end of the session that a lock was waited for on is told", async () => {
  const table = freshTable();
  await using backend = await open(table);
  await using other = await open(table);
  const held = await getLock("a", { backend: other });
  const waiting = getLock("a", { backend, wait: 20 });
  await until("it blocks", async () => await blocked() === 1);
  await held.unlock();
  const lock: Lock = await waiting;
  const lost = new Promise((resolve) => lock.signal.addEventListener("abort", resolve));
  await using sql = administrator();
  await sql`SELECT pg_terminate_backend(${lock.session}::int)`;
  await lost;
  assert.equal(lock.held, false);
  await using next = await getLock("a", { backend: other, wait: 5 });
  assert(next.token > lock.token);
});

test("blocking: shared locks share once they are had", async () => {
  const table = freshTable();
  await using backend = await open(table);
  await using other = await open(table);
  const held = await getLock("a", { backend: other });
  const waiting = getLock("a", { backend, wait: 20, shared: true });
  await until("it blocks", async () => await blocked() === 1);
  await held.unlock();
  await using _first = await waiting;
  await using second = await getLock("a", { backend: other, wait: 5, shared: true });
  assert(second.held);
});

test("blocking: nothing is left behind when the backend is closed in the middle of a wait", async () => {
  const table = freshTable();
  await using other = await open(table);
  await using _held = await getLock("a", { backend: other });
  const before = await connections();
  const backend = await open(table);
  const waiting = getLock("a", { backend, wait: Infinity });
  await until("it blocks", async () => await blocked() === 1);
  await Promise.all([
    assert.rejects(waiting, { name: "BackendError" }),
    backend[Symbol.asyncDispose](),
  ]);
  await until("nobody blocks", async () => await blocked() === 0);
  await until("its connections are closed", async () => await connections() === before);
});

test("blocking: there is a queue for session locks only", async () => {
  for (const mode of ["lease", "hybrid"] as const) {
    await assert.rejects(connect(server.url, { mode, blocking: true }), { name: "UnsupportedError" });
  }
  await assert.rejects(connect(server.url, { mode: "session", blocking: 1 }), TypeError);
});
