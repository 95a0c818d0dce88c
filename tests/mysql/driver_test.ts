/** The fields of mysql2 that `connection/driver.ts` uses, documented or not: each test fails when the driver changes one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import callbacks from "mysql2";
import mysql from "mysql2/promise";
import {
  addressSettings,
  borrow,
  clientPort,
  connectionBehind,
  connectionId,
  type DriverConnection,
  type DriverPool,
  idleConnections,
  isExhausted,
  onClosed,
  openConnection,
  poolBehind,
  send,
  setKeepAlive,
} from "../../backends/mysql/connection/driver.ts";
import { run } from "../processes/spawn.ts";
import { onEach, until } from "./flavors.ts";

/** Opens a connection of mysql2's callback API. */
function open(url: string, options: object = {}): Promise<DriverConnection> {
  return openConnection({ uri: url, ...options }, new AbortController().signal);
}

onEach("driver: pool.pool and connection.connection are the callback pool and connection", async ({ url }) => {
  const pool = mysql.createPool({ uri: url });
  const plain = callbacks.createPool({ uri: url });
  assert.equal(poolBehind(pool), pool.pool);
  assert.equal(poolBehind(plain), plain);
  assert.equal(connectionBehind(pool), undefined);
  const connection = await pool.getConnection();
  assert.equal(connectionBehind(connection), connection.connection);
  assert.equal(connectionBehind(connection.connection), connection.connection);
  assert.equal(poolBehind(connection), undefined);
  connection.release();
  await pool.end();
  plain.end();
});

onEach("driver: pool.config.connectionConfig has the address of the server", async ({ url }) => {
  const { hostname: host, port, username: user, pathname } = new URL(url);
  const pool = mysql.createPool({ uri: url, ssl: { rejectUnauthorized: false }, connectionLimit: 3 });
  const { ssl, ...settings } = addressSettings(poolBehind(pool)!);
  const wanted = { host, port: Number(port), user, database: pathname.slice(1) };
  assert.deepEqual({ ...settings, ...wanted }, settings);
  assert.equal((ssl as { rejectUnauthorized: boolean }).rejectUnauthorized, false);
  await pool.end();
});

onEach("driver: a pool's fields count connections", async ({ url }) => {
  const pool = poolBehind(mysql.createPool({ uri: url, connectionLimit: 3 }))!;
  const all = [await borrow(pool), await borrow(pool)];
  assert.deepEqual([idleConnections(pool), isExhausted(pool)], [0, false]);
  all.push(await borrow(pool));
  assert.equal(isExhausted(pool), true);
  all.pop()!.destroy();
  for (const connection of all) connection.release!();
  assert.equal(idleConnections(pool), 2);
  assert.equal(idleConnections({ ...pool, _freeConnections: undefined } as DriverPool), 3);
  (await borrow(pool)).destroy();
  assert.equal(idleConnections(pool), 1);
  (pool as unknown as { end(): void }).end();
});

onEach("driver: connection.threadId and connection.stream.localPort are those of the process list", async (place) => {
  const connection = await open(place.url);
  const { rows: [[id]] } = await send(connection, "SELECT CONNECTION_ID()");
  assert.equal(connectionId(connection), Number(id));
  const [{ host }] = await place.ask(`SELECT host AS host FROM information_schema.processlist WHERE id = ${id}`);
  assert.equal(String(host).split(":").at(-1), String(clientPort(connection)));
  connection.destroy();
});

onEach("driver: the status of an answer shows whether a transaction is open, and autocommit", async ({ url }) => {
  const connection = await open(url);
  const status = async (sql: string) => {
    const { inTransaction, autocommit } = await send(connection, sql);
    return [inTransaction, autocommit];
  };
  assert.deepEqual(await status("DO 0"), [false, true]);
  assert.deepEqual(await status("START TRANSACTION"), [true, true]);
  assert.deepEqual(await status("ROLLBACK"), [false, true]);
  assert.deepEqual(await status("SET autocommit = 0"), [false, false]);
  connection.destroy();
});

onEach(
  "driver: rows are texts, and LAST_INSERT_ID is exact, whatever the connection's settings are",
  async ({ url }) => {
    const settings = [
      {},
      { rowsAsArray: false, nestTables: true, dateStrings: false, namedPlaceholders: true },
      { typeCast: () => "changed" },
      { supportBigNumbers: true, bigNumberStrings: true },
    ];
    for (const options of settings) {
      const connection = await open(url, options);
      const { rows } = await send(connection, "SELECT 1, NULL, 'a?:b', CAST('2026-01-01' AS DATETIME)");
      assert.deepEqual(rows, [["1", null, "a?:b", "2026-01-01 00:00:00"]]);
      await send(connection, "CREATE TEMPORARY TABLE told (id INT)");
      await send(connection, "INSERT INTO told VALUES (1)");
      const { insertId, affectedRows } = await send(
        connection,
        "UPDATE told SET id = 2 + 0 * LAST_INSERT_ID(1764354321098765)",
      );
      assert.deepEqual([insertId, affectedRows], [1764354321098765n, 1]);
      connection.destroy();
    }
  },
);

onEach("driver: connection.stream emits close when an idle connection is killed", async (place) => {
  const connection = await open(place.url);
  const closed = new Promise((resolve) => onClosed(connection, resolve));
  await place.ask(`KILL ${connectionId(connection)}`);
  await closed;
});

onEach("driver: connection.stream.unref lets the process end, and ref keeps it", async ({ url }) => {
  const { code, output } = await run("tests/mysql/leaves_connection.ts", [url]);
  assert.equal(code, 0, output);
  assert.equal(output.trim(), "1");
});

onEach("driver: an abort while a connection is opened closes its socket", async (place) => {
  const controller = new AbortController();
  const opening = openConnection({ uri: place.url }, controller.signal);
  setTimeout(() => controller.abort(new Error("enough")));
  await opening.then((connection) => connection.destroy(), (error) => assert.match(error.message, /enough/));
  const idle = await open(place.url);
  setKeepAlive(idle, true);
  const ended = once(idle.stream as unknown as import("node:events").EventEmitter, "close");
  idle.destroy();
  await ended;
  await until("it is gone", async () => {
    const rows = await place.ask(`SELECT id FROM information_schema.processlist WHERE id = ${connectionId(idle)}`);
    return rows.length === 0;
  });
});
