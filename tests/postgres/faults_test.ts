import { type Backend, connect, getLock, isLocked, listLocks, type Mode, tryLock, withLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { connect as dial, createServer, type Socket } from "node:net";
import { aborted, later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, listeners, server, until } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid", "session"];

/** A TCP relay to the server that can be cut or go silent, or keep it to itself when one side hangs up. */
async function relay(
  secretive = false,
): Promise<{ url: string; freeze: () => void; cut: () => void } & AsyncDisposable> {
  const pairs = new Set<Socket>();
  let frozen = false;
  const listener = createServer((client) => {
    const upstream = dial(server.port, "127.0.0.1");
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      pairs.add(from);
      from.on("data", (chunk) => frozen || to.write(chunk));
      from.on("close", () => frozen || secretive || to.destroy());
      from.on("error", () => frozen || to.destroy());
    }
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address() as { port: number };
  const cut = () => pairs.forEach((socket) => socket.destroy());
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    freeze: () => void (frozen = true),
    cut,
    [Symbol.asyncDispose]: async () => {
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

test("20 waiters do not block CREATE INDEX CONCURRENTLY in any mode", async () => {
  await using sql = administrator();
  await sql`CREATE TABLE indexed (n int)`;
  for (const mode of MODES) {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    const waiting: Promise<unknown>[] = [];
    const controller = new AbortController();
    const held = await Promise.all(Array.from({ length: 20 }, (_, index) => getLock(`name ${index}`, { backend })));
    await using other = await connect(server.url, { mode, table });
    for (const { name } of held) {
      waiting.push(getLock(name, { backend: other, wait: Infinity, signal: controller.signal }).catch(() => {}));
    }
    await until("20 wait", async () => {
      if (mode !== "session") return (await listLocks({ backend })).every(({ waiters }) => waiters === 1);
      const [{ count }] = await sql`
        SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'`;
      return count >= 20;
    });
    const startedAt = performance.now();
    await sql.unsafe(`CREATE INDEX CONCURRENTLY ON indexed (n)`);
    assert(performance.now() - startedAt < 5_000, `${mode}: ${performance.now() - startedAt} ms`); // they wait for ever
    controller.abort();
    await Promise.all(waiting);
    await Promise.all(held.map((lock) => lock.unlock()));
  }
});

for (const mode of MODES) {
  test(`${mode}: each of our connections may be terminated at any time`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using sql = administrator();
    let stop = false, rounds = 0;
    const killer = (async () => {
      for (let pause = 40, seen = 0; !stop; seen = rounds) {
        await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'lockmgr%'`;
        await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random())));
        pause = rounds > seen ? 40 : pause * 1.5; // a busy machine may need longer than that to connect
      }
    })();
    const expires = mode === "session" ? {} : { expires: 2 }; // a lease whose release found no answer has to lapse
    let inside = 0, most = 0, last = 0n;
    const work = async () => {
      for (let round = 0; round < 25; round++, rounds++) {
        try {
          const lock = await getLock("a", { backend, wait: 20, ...expires });
          const mine = ++inside;
          if (lock.held) most = Math.max(most, mine);
          assert(lock.token > last, "tokens rise");
          last = lock.token;
          inside--;
          await lock.unlock();
        } catch (error) {
          assert.equal((error as Error).name, "BackendError", String(error));
        }
      }
    };
    await Promise.all([work(), work(), work()]).finally(() => stop = true);
    await killer;
    assert.equal(most, 1);
    await using _lock = await getLock("b", { backend, wait: 10 });
  });
}

for (const mode of ["session", "hybrid"] as const) {
  test(`${mode}: the signal aborts on a silent connection before another client can acquire the lock`, async () => {
    await using path = await relay();
    const table = freshTable();
    await using backend = await connect(path.url, { mode, table, sessionTimeout: 1.5 });
    await using other = await connect(server.url, { mode, table });
    const lock = await getLock("a", { backend });
    const lost = aborted(lock.signal).then(() => performance.now());
    const waiting = later(getLock("a", { backend: other, wait: 20 }).then((next) => ({ next, at: performance.now() })));
    path.freeze();
    const frozenAt = performance.now();
    const { next, at } = await waiting;
    const lostAt = await lost;
    assert(lostAt < at, `told ${lostAt - at} ms after another had it`);
    assert(at - frozenAt < 5_000, `freed after ${at - frozenAt} ms`);
    assert.equal(lock.held, false);
    await next.unlock();
  });

  test(`${mode}: the signal aborts on the server's fatal error, before the connection is closed`, async () => {
    await using path = await relay(true);
    await using sql = administrator();
    await using backend = await connect(path.url, { mode, table: freshTable() });
    const lock = await getLock("a", { backend });
    const [{ session }] = await backend.list({ names: ["a"] });
    await sql`SELECT pg_terminate_backend(${session!}::text::int)`;
    const cutAt = performance.now();
    await aborted(lock.signal);
    assert(performance.now() - cutAt < 5_000, "its silence was noticed, and not the farewell");
  });

  test(`${mode}: a stopped process notices the loss when it continues`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table, sessionTimeout: 1 });
    const lock = await getLock("a", { backend });
    const until = performance.now() + 1_100;
    while (performance.now() < until); // nothing runs in this process, as if it were stopped
    assert.equal(lock.held, false);
    await using other = await connect(server.url, { mode, table });
    await using next = await getLock("a", { backend: other, wait: 5 });
    assert(next.token > lock.token);
  });
}

test("a connection cut in the middle of an answer neither loses nor doubles a lease", async () => {
  const table = freshTable();
  await using path = await relay();
  await using backend = await connect(path.url, { table });
  let stop = false, rounds = 0;
  const cutter = (async () => {
    for (let pause = 20, seen = 0; !stop; seen = rounds) {
      await new Promise((resolve) => setTimeout(resolve, pause * (1 + Math.random())));
      path.cut();
      pause = rounds > seen ? 20 : pause * 1.1; // a busy machine may need longer than that to connect
    }
  })();
  try {
    for (let last = 0n; rounds < 60; rounds++) {
      try {
        const lock = await getLock("a", { backend, wait: 10, expires: 2 });
        assert(lock.token > last);
        last = lock.token;
        await lock.unlock();
      } catch (error) {
        assert.equal((error as Error).name, "BackendError", String(error));
      }
    }
  } finally {
    stop = true;
    await cutter;
  }
  await using other = await connect(server.url, { table });
  await using _lock = await getLock("a", { backend: other, wait: 10 });
});

/** A backend whose server was set up by an operator with strict ideas. */
async function strict(mode: Mode, table: string): Promise<Backend & AsyncDisposable> {
  const settings = [
    "default_transaction_isolation=serializable",
    "statement_timeout=1000",
    "idle_in_transaction_session_timeout=500",
    "synchronous_commit=off",
    "lock_timeout=200",
  ];
  const options = encodeURIComponent(settings.map((setting) => `-c ${setting}`).join(" "));
  return await connect(`${server.url}?options=${options}`, { mode, table });
}

for (const mode of MODES) {
  test(`${mode}: correct under serializable, short timeouts and a contended name`, async () => {
    const table = freshTable();
    const backends = [await strict(mode, table), await strict(mode, table), await strict(mode, table)];
    let inside = 0, most = 0;
    const tokens: bigint[] = [];
    await Promise.all(backends.flatMap((backend) =>
      Array.from({ length: 4 }, async () => {
        for (let round = 0; round < 5; round++) {
          await withLock("a", { backend, wait: 60 }, (lock) => {
            most = Math.max(most, ++inside);
            tokens.push(lock.token);
            inside--;
          });
        }
      })
    ));
    assert.equal(most, 1);
    assert.equal(tokens.length, 60);
    assert.deepEqual(tokens, [...tokens].sort((a, b) => Number(a - b)));
    if (mode === "session") {
      await using held = await getLock("b", { backend: backends[0] });
      await new Promise((resolve) => setTimeout(resolve, 1_500)); // longer than the operator's limits
      assert.equal(await held.verify(), true);
    }
    for (const backend of backends) await backend[Symbol.asyncDispose]();
  });
}

test("no connection is left behind", async () => {
  await using sql = administrator();
  const count = async () =>
    (await sql`
    SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`)[0]
      .count;
  const before = await count();
  for (const mode of MODES) {
    const table = freshTable();
    const backend = await connect(server.url, { mode, table });
    const held = await getLock("a", { backend });
    await assert.rejects(getLock("a", { backend, wait: 0.1 }), { name: "LockTimeout" });
    if (mode !== "session") await held.unlock();
    await backend[Symbol.asyncDispose]();
  }
  await until("all connections are closed", async () => await count() <= before);
});

test("a wait fails when its backend is closed", async () => {
  for (const mode of MODES) {
    const table = freshTable();
    await using other = await connect(server.url, { mode, table });
    await using _held = await getLock("a", { backend: other });
    const backend = await connect(server.url, { mode, table });
    const waiting = later(getLock("a", { backend, wait: Infinity }));
    await until("it waits", async () => {
      await using sql = administrator();
      return (await listeners(sql)).length > 0;
    });
    await Promise.all([assert.rejects(waiting, { name: "BackendError" }), backend[Symbol.asyncDispose]()]);
  }
});

test("isLocked answers while a transaction has the rows locked", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  await using lock = await getLock("a", { backend });
  await using sql = administrator();
  await sql.begin(async (tx) => {
    await lock.guard(tx);
    assert.equal(await isLocked("a", { backend }), true);
    assert.equal(await tryLock("a", { backend }), undefined);
  });
});
