import { type Backend, connect, getLock, getLocks, type Lock, type Mode, tryLock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { AbandonedConnections } from "../../backends/postgres/connection/abandoned.ts";
import { sourceOf } from "../../backends/postgres/connection/driver.ts";
import { aborted, later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { connectAgain } from "../servers/connect_again.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, server, until } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid"];

/** The server's address through a proxy. */
function through({ port }: Proxy): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

/** Requests that are sent at once: each name for itself, or all together. */
const REQUESTS: Record<string, (backend: Backend) => Promise<readonly Lock[]>> = {
  "one lock": (backend) => Promise.all([getLock("a", { backend })]),
  "three locks": (backend) => Promise.all(["a", "b", "c"].map((name) => getLock(name, { backend }))),
  "a set of locks": async (backend) => (await getLocks(["a", "b", "c"], { backend })).locks,
};

/**
 * Acquires locks whose answer is lost, and looks whether their rows name the sessions that they listen to; returns whether
 * they are held. They may be lost again where the request was repeated before the end of their session was noticed.
 */
async function acquireUnheard(mode: Mode, request: (backend: Backend) => Promise<readonly Lock[]>): Promise<boolean> {
  const table = freshTable();
  await using sql = administrator();
  await using proxy = await Proxy.start(server.port);
  await using backend = await connect(through(proxy), { mode, table });
  await (await getLock("warm", { backend })).unlock();
  await (await getLocks(["prepared", "too"], { backend })).unlock(); // a driver waits for answers before its first use
  const rows = () => sql.unsafe(`SELECT name, session_pid FROM ${table} WHERE owner IS NOT NULL ORDER BY name`);
  proxy.swallow = "answers";
  const granting = request(backend);
  await until("the server has granted one", async () => (await rows()).length > 0);
  proxy.cutClients(); // the server's ends stay open
  proxy.swallow = undefined;
  const locks = await granting;
  const stored = await rows();
  assert.deepEqual(stored.map(({ name }) => name), locks.map(({ name }) => name));
  if (mode === "lease") {
    for (const lock of locks) assert.equal(await lock.unlock(), true);
    return true;
  }
  const sessions = new Set(stored.map(({ session_pid }) => session_pid));
  assert.deepEqual([...sessions].map(String), [...new Set(locks.map(({ session }) => session))]);
  const told = Promise.all(locks.map(({ signal }) => aborted(signal)));
  const held = await Promise.all(locks.map((lock) => lock.verify()));
  for (const pid of sessions) await sql`SELECT pg_terminate_backend(${pid})`;
  await told;
  return held.every(Boolean);
}

for (const mode of MODES) {
  for (const [what, request] of Object.entries(REQUESTS)) {
    test(`${mode}: ${what} acquired in a lost answer are those of the session that the rows name`, async () => {
      let tries = 0;
      while (!await acquireUnheard(mode, request)) assert(++tries < 4, "they were lost each time");
    });
  }
}

test("session: a lock acquired in a lost answer is not reported as another holder's", async () => {
  const table = freshTable();
  await using proxy = await Proxy.start(server.port);
  await using sql = administrator();
  await using backend = await connect(through(proxy), { mode: "session", table });
  await (await getLock("warm", { backend })).unlock();
  const granted = async () => (await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND granted`).length;
  await until("those of earlier tests are gone", async () => await granted() === 0);
  proxy.swallow = "answers";
  const granting = later(getLock("a", { backend }));
  await until("the server has granted it", async () => await granted() > 0);
  proxy.cutClients();
  proxy.swallow = undefined;
  await using lock = await granting;
  assert.equal(await lock.verify(), true);
});

/** Ways to a backend that gives answers up soon. */
const WAYS: Record<
  string,
  (url: string, mode: Mode, table: string) => Promise<AsyncDisposable & { backend: Backend }>
> = {
  "a URL": async (url, mode, table) => {
    const backend = await connect(url, { mode, table, answerTimeout: 1 });
    return { backend, [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose]() };
  },
  "a sql instance": async (url, mode, table) => {
    const sql = postgres(url, { max_lifetime: null, max: 3, onnotice: () => {} });
    const backend = await postgresBackend(sql, { mode, table, answerTimeout: 1 });
    const close = async () => {
      await backend[Symbol.asyncDispose]();
      await sql.end({ timeout: 1 });
    };
    return { backend, [Symbol.asyncDispose]: close };
  },
  "a pool of node-postgres": async (url, mode, table) => {
    const pool = new pg.Pool({ connectionString: url, max: 3 });
    const backend = await postgresBackend(pool, { mode, table, answerTimeout: 1 });
    const close = async () => {
      await backend[Symbol.asyncDispose]();
      await pool.end();
    };
    return { backend, [Symbol.asyncDispose]: close };
  },
};

for (const [way, open] of Object.entries(WAYS)) {
  for (const mode of MODES) {
    test(`${mode}, through ${way}: a statement given up behind a table lock acquires nothing later`, async () => {
      const table = freshTable();
      await using sql = administrator();
      await using way = await open(server.url, mode, table);
      const { backend } = way;
      await (await getLock("warm", { backend })).unlock();
      const statements = async () =>
        (await sql`SELECT FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Lock' AND query LIKE ${`%${table}%`} AND pid <> pg_backend_pid()`)
          .length;
      await sql.begin(async (tx) => {
        await tx.unsafe(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
        await assert.rejects(tryLock("a", { backend, expires: null }), { name: "BackendError", retryable: true });
        await until("nothing of it is left at the server", async () => await statements() === 0, 20);
      });
      assert.deepEqual([...await sql.unsafe(`SELECT name FROM ${table} WHERE owner IS NOT NULL`)], []);
      await using lock = await getLock("a", { backend, wait: 10 });
      assert(lock.held);
    });
  }
}

test("an acquisition that waits for an absent synchronous standby is neither reported busy nor left held", async () => {
  await using own = await PostgresServer.start();
  await using sql = administrator(own.url);
  const standby = async (names: string) => {
    await sql.unsafe(`ALTER SYSTEM SET synchronous_standby_names = '${names}'`);
    await sql`SELECT pg_reload_conf()`;
    await until(
      "it is in force",
      async () => (await sql`SHOW synchronous_standby_names`)[0].synchronous_standby_names === names,
    );
  };
  await using stack = new AsyncDisposableStack();
  const backends = await Promise.all(MODES.map(async (mode) => {
    const backend = stack.use(await connectAgain(own.url, { mode, table: freshTable(), answerTimeout: 1 }));
    await (await getLock("warm", { backend, wait: 20 })).unlock();
    return backend;
  }));
  const options = (backend: Backend) => ({ backend, expires: null });
  const batch = ["b", "c"];
  await standby("away");
  // The server's checkpointer puts it in force: until then a commit does not wait.
  await using committing = administrator(own.url);
  let waits = false;
  const commits = (async () => {
    while (!waits) await committing`SELECT pg_logical_emit_message(true, 'a commit', '')`;
  })();
  const waiting = () => sql`SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'`;
  await until("commits wait for it", async () => waits = (await waiting()).length > 0);
  const tries = backends.flatMap((backend) => [
    tryLock("a", options(backend)),
    ...batch.map((name) => tryLock(name, options(backend))),
    getLocks(["d", "e"], options(backend)),
  ]);
  await Promise.all(tries.map((each) => assert.rejects(each, { name: "BackendError", retryable: true })));
  await standby("");
  await commits;
  for (const backend of backends) {
    const names = ["a", ...batch, "d", "e"];
    await until("they are free", async () => (await backend.list({ names })).length === 0);
    for (const name of names) await (await getLock(name, { backend, wait: 10 })).unlock();
  }
});

test("a repeated request whose row is locked by another transaction is not answered busy", async () => {
  const table = freshTable();
  await using sql = administrator();
  await using backend = await connect(server.url, { table });
  const rest = { owner: "me", duration: 60e6, lockedBy: "x", lockProcess: null, metadata: null, limit: 1 };
  await (await getLock("a", { backend })).unlock();
  await sql.begin(async (tx) => {
    await tx.unsafe(`SELECT FROM ${table} FOR UPDATE`);
    const ask = (repeated: boolean, allOrNothing: boolean, names = ["a"]) =>
      backend.acquire(names.map((name) => ({ name, ...rest, repeated })), { allOrNothing });
    for (const allOrNothing of [false, true]) {
      for (const names of [["a"], ["a", "b"]]) {
        const unknown = { name: "BackendError", retryable: true };
        await assert.rejects(ask(true, allOrNothing, names), unknown);
        const [first] = await ask(false, allOrNothing, names);
        assert.equal(first.granted, false);
      }
    }
  });
  await backend.release([{ name: "b", owner: "me" }]);
  const [once] = await backend.acquire([{ name: "a", ...rest }]);
  const [again] = await backend.acquire([{ name: "a", ...rest, repeated: true }]);
  assert(once.granted && again.granted);
  const [row] = await backend.list({ names: ["a"] });
  assert.equal(again.row.token, row.token);
});

test("nothing waits for statements that were given up once their backend is closed", async () => {
  const source = await sourceOf({ host: ["127.0.0.1"], port: [1], user: "x", database: "x" });
  const abandoned = new AbandonedConnections(source);
  abandoned.add("1", [{ name: "a" }]);
  await abandoned.close();
  const startedAt = performance.now();
  await assert.rejects(abandoned.settled([{ name: "a" }]), { name: "BackendError", retryable: true });
  assert(performance.now() - startedAt < 1_000, "the event loop was blocked meanwhile");
});
