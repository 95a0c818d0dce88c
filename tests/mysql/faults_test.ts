import {
  BackendError,
  connect,
  getLock,
  isLocked,
  listLocks,
  type Lock,
  Locked,
  LockLost,
  type Mode,
  setLock,
  tryLock,
} from "@lockmgr/lockmgr";
import { mysqlBackend, TableLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { aborted, later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { ask } from "../servers/mysql_database.ts";
import { connectionsTo, onEach, onOwn, type Place, until } from "./flavors.ts";

/** Kills what every connection to the place's database is doing, or the connections. */
async function killEach(place: Place, how: "QUERY" | "CONNECTION"): Promise<void> {
  for (const id of await connectionsTo(place)) await place.ask(`KILL ${how} ${id}`).catch(() => {});
}

for (const mode of ["lease", "session", "hybrid"] as const) {
  for (const how of ["QUERY", "CONNECTION"] as const) {
    onEach(`${mode}: KILL ${how} at any moment gives correct answers and no leak`, async (place) => {
      const backend = await place.backend({ mode });
      const other = await place.backend({ mode });
      let killing = true;
      const killer = (async () => {
        while (killing) await killEach(place, how);
      })();
      const stuck: Lock[] = [];
      let last = 0n;
      for (let round = 0; round < 60; round++) {
        const tries = await Promise.allSettled([tryLock("a", { backend }), tryLock("a", { backend: other })]);
        for (const { reason } of tries.filter((result) => result.status === "rejected")) {
          assert(reason instanceof BackendError && reason.retryable, String(reason));
        }
        const locks = tries.flatMap((result) => result.status === "fulfilled" && result.value ? [result.value] : []);
        const held = locks.filter((lock) => lock.held).map(({ token }) => token).sort();
        if (mode === "lease") assert(held.length <= 1);
        assert(new Set(held).size === held.length && held.every((token) => token > last), `${held} after ${last}`);
        last = held.at(-1) ?? last; // the one whose connection was killed first may not know yet
        for (const lock of locks) await lock.unlock().catch(() => stuck.push(lock));
        if (mode === "lease") await backend.release([{ name: "a", owner: null }]).catch(() => {}); // granted without an answer
      }
      killing = false;
      await killer;
      for (const lock of stuck) await lock.unlock();
      await backend.clean("expired");
      if (mode !== "session") await backend.clean("all");
      const lock = await getLock("a", { backend, wait: 20 });
      assert(lock.token > last);
      assert.equal(await lock.unlock(), true);
    });
  }

  onOwn(`${mode}: a server restart in the middle of a wait and of a hold`, [], async (place) => {
    const backend = await place.backend({ mode });
    const other = await place.backend({ mode });
    const lock = await getLock("a", { backend });
    const waiter = later(getLock("a", { backend: other, wait: 60 }));
    const lost = mode === "lease" ? undefined : aborted(lock.signal);
    await until("somebody waits", () => tryLock("a", { backend: other }).then((lock) => lock === undefined));
    const restarted = place.server.restart();
    if (lost) assert(await lost instanceof LockLost);
    await restarted;
    if (mode === "lease") {
      assert.equal(await lock.verify(), true);
      assert.equal(await lock.unlock(), true);
    }
    const next = await waiter;
    assert(next.token > lock.token);
    assert.equal(await next.unlock(), true);
  });

  onOwn(`${mode}: a server that is down is an error, not busy`, [], async (place) => {
    const backend = await place.backend({ mode });
    await place.server.kill();
    await assert.rejects(getLock("a", { backend }), (error) => {
      assert(error instanceof BackendError && !(error instanceof Locked));
      assert.equal(error.retryable, true);
      assert.match(error.message, /^Cannot acquire lock "a": .+[^.]$/);
      assert(!`${error.message} ${error.cause}`.includes("secret-word"));
      return true;
    });
    await place.server.start();
    const lock = await getLock("a", { backend });
    assert.equal(await lock.unlock(), true);
  });
}

onEach("a wait ends in time on a silent server", async (place) => {
  await using proxy = await Proxy.start(place.server.port);
  const url = new URL(place.url);
  url.port = String(proxy.port);
  await using backend = await mysqlBackend(url, { mode: "hybrid" });
  await getLock("warm", { backend }).then((lock) => lock.unlock());
  proxy.swallow = "answers";
  const startedAt = performance.now();
  await assert.rejects(getLock("a", { backend, wait: 0.2 }), (error) => {
    return error instanceof BackendError && error.retryable && !(error instanceof Locked);
  });
  const waited = performance.now() - startedAt;
  assert(waited < 8_000, `${waited} ms`); // the patience for one answer alone is ten seconds
  proxy.swallow = undefined;
  proxy.cut();
  const lock = await getLock("a", { backend: await place.backend(), wait: 20 }); // given back, whoever was granted it
  assert.equal(await lock.unlock(), true);
});

onEach("a disposal while the backend connects closes the connection at once", async (place) => {
  await using proxy = await Proxy.start(place.server.port);
  const url = new URL(place.url);
  url.port = String(proxy.port);
  const backend = await mysqlBackend(url);
  await getLock("a", { backend }).then((lock) => lock.unlock());
  proxy.cut();
  await until("its connections are gone", () => proxy.conversations === 0);
  proxy.swallow = "answers";
  const attempt = assert.rejects(getLock("a", { backend }), /^BackendError: Cannot .*: the backend was disposed of$/);
  await until("it connects", () => proxy.conversations > 0);
  const startedAt = performance.now();
  await backend[Symbol.asyncDispose]();
  await attempt;
  await until("nobody is there any more", () => proxy.conversations === 0);
  assert(performance.now() - startedAt < 5_000); // the patience for an answer is ten seconds
});

onOwn("max_connections reached is a retryable error", ["--max-connections=10"], async (place) => {
  const backend = await place.backend();
  const crowd = await Promise.all(Array.from({ length: 8 }, () => mysql.createConnection(place.url)));
  await until("all others have gone", async () => {
    const [[{ Value }]] = await crowd[0].query<mysql.RowDataPacket[]>("SHOW STATUS LIKE 'Threads_connected'");
    return Number(Value) <= 9;
  });
  const more = ["lease", "session", "hybrid", "lease"].map(async (mode) => await place.backend({ mode: mode as Mode }));
  const all = await Promise.all(more.map((opening) => opening.catch((error) => error)));
  for (const connection of crowd) await connection.end();
  for (const result of all.filter((result) => result instanceof Error)) {
    assert(result instanceof BackendError && result.retryable, String(result));
    assert.match(result.message, /no connection left/);
  }
  assert(all.some((result) => result instanceof Error) && !all.every((result) => result instanceof Error));
  assert.equal(await getLock("after", { backend }).then((lock) => lock.unlock()), true);
});

onOwn(
  "ANSI_QUOTES, a time zone far away and table names without case change nothing",
  ["--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES", "--default-time-zone=+11:30", "--lower-case-table-names=1"],
  async (place) => {
    const pool = mysql.createPool({ uri: place.url, charset: "latin1_swedish_ci", timezone: "-05:00" });
    const backend = await mysqlBackend(pool);
    const session = await place.backend({ mode: "session" });
    const before = Date.now();
    const lock = await getLock("n'a\"m\\e 🔒", {
      backend,
      expires: 60,
      lockedBy: "hôst-🔒",
      metadata: { "é": "\\'\"" },
    });
    assert(Math.abs(lock.createdAt.getTime() - before) < 60_000);
    const [record] = await listLocks({ backend: await place.backend() });
    assert.equal(String(record), String(lock));
    assert.deepEqual(record.metadata, { "é": "\\'\"" });
    const token = await getLock("a", { backend: session }).then((held) => held.token);
    assert(Math.abs(Number(token) / 1e3 - before) < 60_000);
    await backend[Symbol.asyncDispose]();
    await pool.end();
    for (const mode of ["lease", "session", "hybrid"] as const) {
      const upper = await place.backend({ mode, table: "My_Locks" });
      const lower = await place.backend({ mode, table: "my_locks", migrate: false });
      const held = await getLock("a", { backend: upper });
      assert.equal(await tryLock("a", { backend: lower }), undefined);
      if (mode !== "session") assert.equal((await listLocks({ backend: lower }))[0].token, held.token);
      assert.equal(await held.unlock(), true);
    }
    const tables = await new TableLock({ write: ["MY_LOCKS"], backend: await place.backend() }).acquire();
    await tables.query("DELETE FROM my_locks");
    await tables.release();
  },
);

onEach("privileges on the lock table alone are enough", async (place) => {
  await place.backend({ table: "held" });
  await place.ask(
    `DROP USER IF EXISTS clerk`,
    `CREATE USER clerk IDENTIFIED BY 'pass-word'`,
    `GRANT SELECT, INSERT, UPDATE, DELETE ON ${place.name}.held TO clerk`,
  );
  const url = place.server.urlOf(place.name, "clerk", "pass-word");
  for (const mode of ["lease", "session", "hybrid"] as const) {
    const backend = await connect(url, { mode, table: "held", migrate: false });
    try {
      const lock = await getLock("a", { backend });
      assert.equal(await isLocked("a", { backend }), true);
      assert.equal(await lock.verify(), true);
      if (mode !== "session") await setLock(["b", "c"], { backend, fail: true });
      assert.equal(await lock.unlock(), true);
      if (mode !== "session") assert.equal(await backend.clean("all"), 2);
    } finally {
      await backend[Symbol.asyncDispose]();
    }
  }
  await assert.rejects(connect(url, { table: "other", migrate: false }), /does not exist or may not be used/);
  await assert.rejects(connect(url, { table: "other" }), BackendError);
  await assert.rejects(connect(place.server.urlOf(place.name, "clerk", "wrong-word")), (error) => {
    assert(error instanceof BackendError);
    assert(!`${error.message} ${error.cause}`.includes("wrong-word"));
    return true;
  });
});

onEach("foreign tables are refused, dropped ones are created again", async (place) => {
  await place.ask("CREATE TABLE other (name VARCHAR(255) PRIMARY KEY, owner INT)");
  await assert.rejects(place.backend({ table: "other" }), /it has no column token/);
  const backend = await place.backend();
  await place.ask("CREATE TABLE slow LIKE lockmgr_locks", "ALTER TABLE slow DROP INDEX listed");
  await assert.rejects(place.backend({ table: "slow" }), /it has no index "listed" of listed, name/);
  for (const working of [backend, await place.backend({ mode: "hybrid" })]) {
    await using held = await getLock("held", { backend: working });
    await place.ask("DROP TABLE lockmgr_locks");
    await assert.rejects(getLock("a", { backend: working }), /lockmgr_locks' doesn't exist/);
    await using again = await getLock("held", { backend: working });
    assert(again.token > held.token, `${again.token} after ${held.token}`);
    assert.equal(await held.verify(), false);
  }
});

for (const [name, serve] of [["mysql", startMysql], ["mariadb", () => startMariadb({ suite: "sid" })]] as const) {
  test(`${name}: connections are encrypted when they are asked to be`, async () => {
    await using server = await serve();
    await ask(
      server.url,
      "CREATE USER careful IDENTIFIED BY 'pass-word' REQUIRE SSL",
      "GRANT ALL PRIVILEGES ON test.* TO careful",
    );
    const url = server.urlOf("test", "careful", "pass-word");
    await assert.rejects(connect(url), BackendError);
    await assert.rejects(connect(url, { ssl: true }), BackendError); // nobody vouches for the server's certificate
    for (const mode of ["lease", "session", "hybrid"] as const) {
      const backend = await connect(url, { mode, ssl: { rejectUnauthorized: false } });
      assert.equal(await getLock("a", { backend }).then((lock) => lock.unlock()), true);
      await backend[Symbol.asyncDispose]();
    }
  });
}

onOwn("session and hybrid are refused on a read-only server", ["--read-only=ON"], async (place) => {
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(place.backend({ mode }), (error) => {
      assert.equal((error as { code: string }).code, "UNSUPPORTED");
      assert.match((error as Error).message, /read-only.*want "lease"/);
      return true;
    });
  }
});

onEach("guard: a lock cannot change hands until the caller's transaction ends", async (place) => {
  const backend = await place.backend();
  const other = await place.backend();
  for (const client of [await mysql.createConnection(place.url)]) {
    const lock = await getLock("a", { backend, expires: 3 });
    await assert.rejects(lock.guard(client), /no transaction is open/);
    await assert.rejects(lock.guard(mysql), TypeError);
    await client.beginTransaction();
    await lock.guard(client);
    await aborted(lock.signal);
    assert.equal(await tryLock("a", { backend: other }), undefined); // lapsed, and yet not to be had
    await client.commit();
    const next = await getLock("a", { backend: other, wait: 10 });
    await client.beginTransaction();
    await assert.rejects(lock.guard(client), LockLost);
    await next.guard(client);
    await client.rollback();
    await client.end();
    await next.unlock();
  }
});

onEach("a caller's pool is not changed, and an open transaction on it is refused", async (place) => {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 1 });
  const backend = await mysqlBackend(pool);
  const lock = await getLock("a", { backend });
  assert.equal(await lock.unlock(), true);
  const connection = await pool.getConnection();
  await connection.query("SET autocommit = 0");
  connection.release();
  await assert.rejects(getLock("a", { backend }), /transaction open, or autocommit off/);
  await backend[Symbol.asyncDispose]();
  const [rows] = await pool.query("SELECT COUNT(*) AS held FROM lockmgr_locks WHERE NOT locked_until <=> 0");
  assert.equal((rows as { held: number }[])[0].held, 0);
  await pool.end();
});
