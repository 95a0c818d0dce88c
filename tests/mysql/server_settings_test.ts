/**
 * Settings of the server, which connections of our own begin with, and a binary log that keeps statements.
 *
 * @module
 */
import {
  connect,
  getLock,
  getLocks,
  type GuardClient,
  listLocks,
  setLock,
  tryLock,
  unlock,
  UnsupportedError,
} from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createConnection, createPool, type PoolConnection } from "mysql2/promise";
import { everyVerb } from "../conformance/settings.ts";
import { onEach, onOwn, type Place } from "./flavors.ts";

/** Settings that connections begin with, as an operator or an attacker may have made them. */
const HOSTILE = [
  "sql_mode = 'HIGH_NOT_PRECEDENCE,ANSI_QUOTES,PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES,NO_UNSIGNED_SUBTRACTION'",
  "sql_select_limit = 2",
  "lc_messages = 'de_DE'",
  "time_zone = '+13:00'",
  "completion_type = 'CHAIN'",
  "sql_safe_updates = 1",
  "group_concat_max_len = 4",
  "max_sort_length = 8",
];

/** Runs a body in a transaction on a connection of its own. */
async function inTransaction(place: Place, body: (client: GuardClient) => Promise<void>): Promise<void> {
  const connection = await createConnection({ uri: place.url });
  await connection.beginTransaction();
  await body(connection).finally(() => connection.destroy());
}

onOwn("connections of lockmgr have their own settings, whatever the server's are", [], async (place) => {
  const other = await place.backend();
  for (const level of ["READ UNCOMMITTED", "SERIALIZABLE"]) {
    await place.ask(...HOSTILE.map((setting) => `SET GLOBAL ${setting}`));
    await place.ask(`SET GLOBAL TRANSACTION ISOLATION LEVEL ${level}`);
    for (const mode of ["lease", "hybrid"] as const) {
      await using backend = await connect(place.url, { mode });
      await everyVerb(backend, other, (body) => inTransaction(place, body));
    }
  }
  await using session = await connect(place.url, { mode: "session" });
  await using lock = await getLock("a", { backend: session, expires: null });
  assert.equal(await lock.verify(), true);
  await using another = await connect(place.url, { mode: "session" });
  assert.equal(await tryLock("a", { backend: another, expires: null }), undefined);
});

onOwn("a binary log of statements", ["--log-bin=log", "--server-id=1"], async (place) => {
  const before = await place.backend({ mode: "hybrid" });
  await (await getLock("early", { backend: before })).unlock();
  await place.ask("SET GLOBAL binlog_format = 'STATEMENT'");
  const named = (error: Error) => error instanceof UnsupportedError && /binlog_format is STATEMENT/.test(error.message);
  await assert.rejects(place.backend({ mode: "hybrid" }), named);
  const other = await place.backend();
  await everyVerb(await place.backend(), other, (body) => inTransaction(place, body));
  const pool = createPool({ uri: place.url });
  try {
    await using lent = await mysqlBackend(pool);
    await everyVerb(lent, other);
  } finally {
    await pool.end();
  }
  await place.ask("SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED");
  const committed = createPool({ uri: place.url });
  try {
    await assert.rejects(mysqlBackend(committed), named);
  } finally {
    await committed.end();
  }
});

onOwn(
  "a binary log of statements that begins behind an open backend",
  ["--log-bin=log", "--server-id=1"],
  async (place) => {
    const lease = await place.backend();
    const hybrid = await place.backend({ mode: "hybrid" });
    await (await getLock("a", { backend: lease })).unlock();
    await (await getLock("a", { backend: hybrid })).unlock();
    await place.ask("SET GLOBAL binlog_format = 'STATEMENT'");
    await killConnections(place);
    // those that are opened from now on are set up for it
    await (await getLock("a", { backend: lease, wait: 10 })).unlock();
    await assert.rejects(getLock("a", { backend: hybrid, wait: 10 }), /binlog_format is STATEMENT.*"lease"/);
  },
);

async function killConnections(place: Place): Promise<void> {
  const rows = await place.ask(
    `SELECT id AS id FROM information_schema.processlist WHERE db = '${place.name}' AND id <> CONNECTION_ID()`,
  );
  for (const { id } of rows) await place.ask(`KILL ${id}`).catch(() => {});
}

onOwn(
  "a request that max_allowed_packet forbids is refused by its name, and fails alone",
  ["--max_allowed_packet=1M"],
  async (place) => {
    const pool = createPool({ uri: place.url });
    await using _ended = { [Symbol.asyncDispose]: () => pool.end() };
    const metadata = "x".repeat(3 << 20);
    const refused = {
      name: "BackendError",
      retryable: false,
      message: /max_allowed_packet is 1048576; want less metadata/,
    };
    for (const mode of ["lease", "hybrid"] as const) {
      for (const target of [place.url, pool, (sql: string) => pool.query(sql)]) {
        if (typeof target === "function" && mode === "hybrid") continue;
        await using backend = await mysqlBackend(target, { mode });
        const startedAt = performance.now();
        const small = Array.from({ length: 50 }, (_, index) => getLock(`small ${index}`, { backend }));
        await assert.rejects(getLock("a", { backend, wait: 60, metadata }), refused);
        await assert.rejects(getLocks(["a", "b"], { backend, metadata: metadata.slice(0, 400_000) }), refused);
        await Promise.all(small.map(async (each) => (await each).unlock()));
        assert.equal((await setLock(["a"], { backend, metadata: metadata.slice(0, 400_000) })).counts.created, 1);
        await unlock("a", { backend });
        assert(performance.now() - startedAt < 30_000);
      }
    }
  },
);

onEach("an open transaction on a pool's connection is neither used nor committed", async (place) => {
  const other = await place.backend();
  await place.ask("CREATE TABLE things (id INT PRIMARY KEY)");
  const pool = createPool({ uri: place.url, connectionLimit: 1 });
  try {
    await using backend = await mysqlBackend(pool);
    const leave = async (use: (connection: PoolConnection) => Promise<unknown>) => {
      const connection = await pool.getConnection();
      await connection.rollback(); // a connection that was only looked at still has the transaction before
      await connection.beginTransaction();
      await use(connection);
      connection.release();
    };
    const open = /has a transaction open/;
    await leave((connection) => connection.query("INSERT INTO things VALUES (1)"));
    await using lock = await getLock("a", { backend: other });
    await assert.rejects(listLocks({ backend }), open);
    await assert.rejects(tryLock("b", { backend }), open);
    await leave((connection) => connection.query("INSERT INTO things VALUES (2)"));
    await assert.rejects(setLock(["b", "c"], { backend, fail: true }), open);
    assert.deepEqual((await listLocks({ backend: other })).map(({ name }) => name), ["a"]);
    assert.deepEqual(await place.ask("SELECT * FROM things"), []);
    assert.equal(lock.held, true);
  } finally {
    await pool.end();
  }
});

onOwn("what was confirmed survives a crash of a server that writes its log on each commit", [], async (place) => {
  const names = ["a", "b", "c"];
  const modes = { lease: { expires: null, left: ["kept"] }, hybrid: { expires: 60, left: [] } } as const;
  const of = (mode: string) => ({ table: `${mode}_locks` });
  const backends = await Promise.all([place.backend(of("lease")), place.backend({ mode: "hybrid", ...of("hybrid") })]);
  for (const backend of backends) {
    const { expires, left } = modes[backend.mode as "lease" | "hybrid"];
    const lock = await getLock("single", { backend, expires });
    const batch = await Promise.all(names.map((name) => getLock(name, { backend, expires })));
    for (const name of left) await getLock(name, { backend, expires });
    await Promise.all(batch.map((each) => each.unlock()));
    await lock.unlock();
  }
  await place.server.kill();
  await place.server.start();
  for (const [mode, { left }] of Object.entries(modes)) {
    await using backend = await connect(place.url, of(mode));
    assert.deepEqual((await listLocks({ backend })).map(({ name }) => name), left);
    for (const name of ["single", ...names]) assert(await tryLock(name, { backend }), name);
  }
});
