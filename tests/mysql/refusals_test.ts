import { getLock, type Mode, UnsupportedError } from "@lockmgr/lockmgr";
import { mysqlBackend, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createPool } from "mysql2/promise";
import { describe, whyNoSessions } from "../../backends/mysql/connection/server.ts";
import { test } from "../harness.ts";
import { startGalera } from "../servers/galera.ts";
import { startMysql } from "../servers/mysql.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { onEach } from "./flavors.ts";

/** Modes that need sessions are refused with this reason, `lease` is not. */
async function refuses(server: MysqlServer, reason: RegExp): Promise<void> {
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(mysqlBackend(server.url, { mode }), (error) => {
      assert(error instanceof UnsupportedError);
      assert.match(error.message, reason);
      assert.match(error.message, /want "lease"$/);
      return true;
    });
  }
  const backend = await mysqlBackend(server.url);
  await assert.rejects(new UserLock("a", { backend }).acquire(), UnsupportedError);
  assert.equal(await getLock("a", { backend }).then((lock) => lock.unlock()), true);
  await backend[Symbol.asyncDispose]();
}

test("mysql: session locks are refused in a multi-primary replication group", async () => {
  await using server = await startMysql({
    settings: [
      "--plugin-load-add=group_replication.so",
      "--loose-group-replication-group-name=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
      "--loose-group-replication-single-primary-mode=OFF",
      "--loose-group-replication-start-on-boot=OFF",
      "--gtid-mode=ON",
      "--enforce-gtid-consistency=ON",
    ],
  });
  await refuses(server, /multi-primary/);
});

test("mariadb: session locks are refused in a Galera cluster", async () => {
  await using server = await startGalera();
  await refuses(server, /Galera/);
});

test("mysql: Vitess, TiDB and replicas are recognized, and refused for session locks", async () => {
  const server = (...variables: [string, string][]) => {
    const answer = { insertId: 0n, affectedRows: 0, inTransaction: false, autocommit: true };
    return describe((sql) => Promise.resolve({ ...answer, rows: sql.startsWith("SHOW") ? variables : [["test"]] }));
  };
  const refused: [RegExp, ...[string, string][]][] = [
    [/Vitess/, ["version", "8.0.40-Vitess"]],
    [/Vitess/, ["version", "8.0.40"], ["version_comment", "PlanetScale"]],
    [/TiDB/, ["version", "8.0.11-TiDB-v8.5.0"]],
    [/TiDB/, ["version", "8.0.11"], ["tidb_config", "{}"]],
    [/super_read_only/, ["version", "9.7.4"], ["read_only", "ON"], ["super_read_only", "ON"]],
    [/innodb_read_only/, ["version", "9.7.4"], ["innodb_read_only", "ON"]],
    [/read_only/, ["version", "12.3.1-MariaDB"], ["read_only", "READ_ONLY"]],
  ];
  for (const [reason, ...variables] of refused) assert.match(whyNoSessions(await server(...variables)) ?? "", reason);
  assert.equal(whyNoSessions(await server(["version", "9.7.4"], ["read_only", "OFF"], ["wsrep_on", "OFF"])), undefined);
});

onEach("session locks use the settings of a pool, and none of its connections", async (place) => {
  const pool = createPool({ uri: place.url, connectionLimit: 1 });
  const used = await pool.getConnection(); // nothing is left in the pool
  const backend = await mysqlBackend(pool, { mode: "session" });
  const lock = await getLock("a", { backend });
  assert.equal(await lock.verify(), true);
  assert.equal(await lock.unlock(), true);
  await backend[Symbol.asyncDispose]();
  used.release();
  await pool.end();
});

onEach("connections whose settings change the meaning of statements are refused", async (place) => {
  const settings = place.flavor.name === "mariadb" ? ["SET sql_mode = 'SIMULTANEOUS_ASSIGNMENT'"] : [];
  for (const setting of [...settings, "SET collation_connection = utf16_bin"]) {
    const pool = createPool({ uri: place.url, connectionLimit: 1 });
    await pool.query(setting);
    await assert.rejects(mysqlBackend(pool), { name: "UnsupportedError" }, setting);
    await pool.end();
  }
});

onEach("options and targets are checked before anything is opened", async ({ url }) => {
  const wrong: [unknown, object][] = [
    [url, { mode: "advisory" as Mode }],
    [url, { timout: 3 }],
    [url, { maxConnections: 0 }],
    [url, { answerTimeout: NaN }],
    [url, { sessionTimeout: "30" }],
    [`${url}?lockmgr_mod=lease`, {}],
    [`${url}?compress=true`, {}],
    [`${url}?ssl=maybe`, {}],
    ["postgres://localhost/test", {}],
    ["mysql://user:secret-word@host:port/x", {}],
    [{}, {}],
    [7, {}],
  ];
  for (const [target, options] of wrong) {
    await assert.rejects(mysqlBackend(target as string, options), (error) => {
      assert(error instanceof TypeError || error instanceof RangeError, String(error));
      assert(!error.message.includes("secret-word"));
      return true;
    });
  }
  const renamed = [["connections", "maxConnections"], ["timeout", "answerTimeout"], [
    "sesionTimeout",
    "sessionTimeout",
  ]];
  for (const [old, known] of renamed) {
    const expected = new RegExp(`^TypeError: Cannot use option "${old}" on MySQL: want "${known}", or another of `);
    await assert.rejects(mysqlBackend(url, { [old]: 5 }), expected);
  }
  const backend = await mysqlBackend(`${url}?lockmgr_mode=hybrid&lockmgr_table=mine`, {});
  assert.equal(backend.mode, "hybrid");
  await backend[Symbol.asyncDispose]();
});
