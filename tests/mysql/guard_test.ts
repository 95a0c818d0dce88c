import { getLock, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import mariadb from "mariadb";
import mysql from "mysql2/promise";
import { onEach } from "./flavors.ts";

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: guard: a connection or a function is refused unless its transaction is open`, async (place) => {
    const backend = await place.backend({ mode });
    const lock = await getLock("a", { backend });
    const pool = mysql.createPool({ uri: place.url, connectionLimit: 2 });
    const connection = await pool.getConnection();
    const execute = (text: string, parameters: (string | null)[]) => connection.execute(text, parameters);
    const rows = (text: string, parameters: (string | null)[]) =>
      connection.query(text, parameters).then(([rows]) => rows);
    const { hostname: host, port, username: user, password, pathname } = new URL(place.url);
    const database = pathname.slice(1);
    const other = await mariadb.createConnection({ host, port: Number(port), user, password, database });
    try {
      await assert.rejects(lock.guard(pool), TypeError);
      for (const through of [connection, execute, rows, other]) {
        const run = through === other ? (text: string) => other.query(text) : (text: string) => connection.query(text);
        await assert.rejects(lock.guard(through), { name: "TypeError", message: /no transaction is open/ });
        await run("BEGIN");
        await lock.guard(through);
        await assert.rejects(place.ask("SELECT * FROM lockmgr_locks WHERE name = 'a' FOR UPDATE NOWAIT"));
        await run("COMMIT");
      }
      await unlock("a", { backend });
      await connection.query("BEGIN");
      await assert.rejects(lock.guard(rows), { name: "LockLost" });
    } finally {
      connection.release();
      await pool.end();
      await other.end();
    }
  });
}

onEach("guard: a function whose rows come nested or without values is refused by that", async (place) => {
  await using backend = await place.backend({ mode: "lease" });
  const lock = await getLock("a", { backend });
  for (const options of [{ nestTables: true }, { typeCast: (_: unknown, next: () => void) => void next() }]) {
    const connection = await mysql.createConnection({ uri: place.url, ...options } as mysql.ConnectionOptions);
    await connection.beginTransaction();
    const guarded = lock.guard((text, parameters) => connection.query(text, parameters)).then(() => "guarded", String);
    assert.match(await guarded, /the function answered a row with/);
    await connection.rollback();
    await connection.end();
    assert(lock.held);
  }
});
