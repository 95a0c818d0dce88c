/**
 * Leases through a function of the caller's, such as the raw query of an ORM.
 *
 * @module
 */
import { type Backend, getLock, isLocked, Lock, setLock, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend, type MysqlFunction, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mariadb from "mariadb";
import callbacks from "mysql2";
import mysql from "mysql2/promise";
import { everyVerb } from "../conformance/settings.ts";
import { disposedOfUnanswered } from "../conformance/unanswered.ts";
import { onEach, type Place } from "./flavors.ts";

/** How the package mariadb is told where a server is. */
function address({ url }: Place) {
  const { hostname: host, port, username: user, password, pathname } = new URL(url);
  return { host, port: Number(port), user, password, database: pathname.slice(1) };
}

/** Clients of a database, and functions that send through each. */
async function clientsOf(place: Place) {
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 4 });
  const cluster = callbacks.createPoolCluster();
  cluster.add("one", { uri: place.url });
  const connection = await mysql.createConnection(place.url);
  const other = mariadb.createPool({ ...address(place), connectionLimit: 4 });
  const clustered = cluster.of("one");
  return {
    pool,
    cluster,
    connection,
    other,
    functions: {
      "a connection": (sql, parameters) => connection.query(sql, parameters),
      "a pool's rows or header": (sql, parameters) => pool.query(sql, parameters).then(([result]) => result),
      "a pool cluster": (sql) =>
        new Promise((resolve, reject) => {
          clustered.query(sql, (error: unknown, result: unknown) => error ? reject(error) : resolve(result));
        }),
      "the package mariadb": (sql, parameters) => other.query(sql, parameters),
      "one like Kysely's": async (sql) => {
        const [result] = await pool.query(sql);
        if (Array.isArray(result)) return { rows: result };
        return {
          rows: [],
          insertId: result.insertId ? BigInt(result.insertId) : undefined,
          numAffectedRows: BigInt(result.affectedRows),
        };
      },
    } satisfies Record<string, MysqlFunction> as Record<string, MysqlFunction>,
    async [Symbol.asyncDispose]() {
      await Promise.all([
        pool.end(),
        connection.end(),
        other.end(),
        new Promise<void>((end) => cluster.end(() => end())),
      ]);
    },
  };
}

onEach("function: every verb, whatever the driver answers", async (place) => {
  await using clients = await clientsOf(place);
  for (const [name, send] of Object.entries(clients.functions)) {
    await using backend = await mysqlBackend(send, { table: "function_locks" });
    await using other = await mysqlBackend(place.url, { table: "function_locks" });
    await everyVerb(backend, other).catch((error) => assert.fail(`${name}: ${error.stack}`));
  }
});

onEach("function: NULL and an empty text may stand for each other", async (place) => {
  await using clients = await clientsOf(place);
  const changes = [
    (value: unknown) => value === "" || (value as Buffer | null)?.length === 0 ? null : value,
    (value: unknown) => value ?? "",
  ];
  for (const [index, change] of changes.entries()) {
    const table = `emptied_${index}`;
    await using backend = await mysqlBackend(async (sql) => {
      const [result] = await clients.pool.query(sql);
      if (!Array.isArray(result)) return result;
      return result.map((row) => Object.fromEntries(Object.entries(row).map(([name, value]) => [name, change(value)])));
    }, { table });
    await using other = await mysqlBackend(place.url, { table });
    await everyVerb(backend, other);
    assert.equal(await (await getLock("kept", { backend: other, holdAtLeast: 60 })).unlock(), true);
    const tries = await Promise.all(["kept", "b", "c"].map((name) => tryLock(name, { backend })));
    assert.deepEqual(tries.map((each) => each?.name), [undefined, "b", "c"]);
    const waiting = getLock("b", { backend, wait: 30 });
    assert.equal(await tries[1]!.unlock(), true);
    assert.equal(await (await waiting).unlock(), true);
  }
});

onEach("function: a lock is not written in the caller's open transaction", async (place) => {
  await using clients = await clientsOf(place);
  const { connection } = clients;
  const wrapped = (sql: string) =>
    connection.query(sql).catch((error) => Promise.reject(Object.assign(new Error("it failed"), { original: error })));
  for (const send of [clients.functions["a connection"], wrapped]) {
    await using backend = await mysqlBackend(send);
    const lock = await getLock("before", { backend });
    for (const begin of ["BEGIN", "SET autocommit = 0"]) {
      await connection.query(begin);
      await connection.query("SELECT COUNT(*) FROM lockmgr_locks");
      await assert.rejects(tryLock("a", { backend }), { name: "UnsupportedError", message: /transaction open/ });
      await assert.rejects(lock.renew(), { name: "UnsupportedError" });
      await assert.rejects(lock.verify(), { name: "UnsupportedError" }); // its rows may be those of a while ago
      await assert.rejects(mysqlBackend(send), { name: "UnsupportedError" });
      await connection.query("ROLLBACK");
      await connection.query("SET autocommit = 1");
    }
    assert.equal(await isLocked("a", { backend }), false);
    assert.equal(await lock.unlock(), true);
  }
});

onEach("function: of two clients that want the same names in one call, one gets all", async (place) => {
  await using clients = await clientsOf(place);
  const { "a pool's rows or header": send } = clients.functions;
  await using one = await mysqlBackend(send);
  await using two = await mysqlBackend(send);
  const attempt = (backend: Backend, names: string[]) =>
    setLock(names, { backend, fail: true, renew: false }).then(({ locks }) => locks, () => undefined);
  let granted = 0;
  for (let round = 0; round < 20; round++) {
    const outcomes = await Promise.all([attempt(one, ["a", "b", "c"]), attempt(two, ["c", "b", "d"])]);
    const locks = outcomes.filter((outcome) => outcome !== undefined);
    assert(locks.length <= 1, "both got their names");
    granted += locks.length;
    for (const lock of locks.flat()) assert(lock instanceof Lock && await lock.verify() && await lock.unlock());
    assert.deepEqual(await one.list({}), [], "a name was left locked");
  }
  assert(granted > 0);
});

onEach("function: what needs a connection is refused, and so are clients that are none", async (place) => {
  await using clients = await clientsOf(place);
  const { pool, cluster, connection, other, functions } = clients;
  const send = functions["a connection"];
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(mysqlBackend(send, { mode }), { name: "UnsupportedError", message: /"lease"/ });
  }
  await using backend = await mysqlBackend(send);
  await assert.rejects(backend.diagnose!(), { name: "UnsupportedError" });
  await assert.rejects(new UserLock("a", { backend }).acquire(), { name: "UnsupportedError" });
  const nothing = () => assert.fail("it sent a statement");
  const refused: [unknown, RegExp][] = [
    [connection, /a single connection, not a pool; want \(sql, parameters\) => connection\.query/],
    [Reflect.get(connection, "connection"), /a single connection/],
    [cluster, /a pool cluster; want \(sql, parameters\) => cluster\.of/],
    [other, /a pool of the package mariadb; want/],
    [Object.assign(nothing, { raw: nothing, queryBuilder: nothing }), /an instance of Knex; want a function/],
    [{ selectFrom: nothing, executeQuery: nothing }, /an instance of Kysely/],
    [{ authenticate: nothing, define: nothing, query: nothing }, /an instance of Sequelize/],
    [{}, /want a URL, a pool of mysql2, or a function/],
    [null, /want a URL/],
  ];
  for (const [target, message] of refused) {
    await assert.rejects(mysqlBackend(target as typeof pool), { name: "TypeError", message });
  }
});

onEach("function: an answer that says too little, and a limit of rows, are refused", async (place) => {
  await using clients = await clientsOf(place);
  const { connection } = clients;
  const answers: Record<string, (result: unknown) => unknown> = {
    "nothing": () => undefined,
    "a count": (result) => Array.isArray(result) ? result : 1,
    "no header": (result) => Array.isArray(result) ? result : [],
    "texts": (result) => JSON.stringify(result),
  };
  for (const [name, change] of Object.entries(answers)) {
    const send: MysqlFunction = (sql) => connection.query(sql).then(([result]) => change(result));
    await assert.rejects(mysqlBackend(send), { name: "TypeError", message: /the function answered/ }, name);
  }
  await connection.query("SET sql_select_limit = 5");
  await assert.rejects(mysqlBackend(clients.functions["a connection"]), { message: /sql_select_limit 5/ });
});

onEach("function: one that never answers is given up when the backend is disposed of", async (place) => {
  await using clients = await clientsOf(place);
  const { "a connection": send } = clients.functions;
  await disposedOfUnanswered((isSilent) =>
    mysqlBackend((sql, parameters) => isSilent() ? new Promise(() => {}) : send(sql, parameters))
  );
});
