/**
 * A program with the oldest drivers that the package asks for, on the oldest Node that it asks for, and on Bun; their
 * types fit.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { npmInstall, programOf, versionOf } from "../runtimes/installing.ts";
import { oldestNode, runtimes } from "../runtimes/runtimes.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { installedPackage } from "../package/installed.ts";
import { runTool } from "./projects.ts";

/** Tries each way to reach a server in each mode: a contended wait, and the guard inside and outside a transaction. */
const PROGRAM = `
import assert from "node:assert/strict";
import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import { DatabaseSync } from "node:sqlite";
import callbacks from "mysql2";
import mysql from "mysql2/promise";
import pg from "pg";
import postgres from "postgres";

const NAME = "jobs of " + process.pid;

/** Runs a body in a transaction that is rolled back. */
const within = (connect) => async (body) => {
  const client = await connect();
  try {
    await client.query("BEGIN");
    await body(client);
  } finally {
    await client.query("ROLLBACK");
    client.release();
  }
};

/** The ways to a server: how a backend is opened, how a transaction is begun, and what is none. */
async function* waysToPostgres(url) {
  const sql = postgres(url, { onnotice() {} });
  const pool = new pg.Pool({ connectionString: url });
  const begin = (body) => sql.begin(body);
  yield { open: (options) => connect(url, options), begin, outside: sql };
  yield { open: (options) => postgresBackend(sql, options), begin, outside: sql };
  yield { open: (options) => postgresBackend(pool, options), begin: within(() => pool.connect()), outside: pool };
  for (const client of [sql, pool]) {
    const lock = await advisoryLock(client, NAME);
    assert.equal((await advisoryLock(sql, NAME, { wait: false })).acquired, false);
    await lock.release();
  }
  await sql.end();
  await pool.end();
}

async function* waysToSqlite(url) {
  const database = new DatabaseSync(url.slice("sqlite:".length));
  const begin = within(() => ({ query: (sql) => database.exec(sql), release() {} }));
  const guarded = (body) => begin(() => body(database));
  yield { open: (options) => connect(url, options), begin: guarded, outside: database };
  database.close();
}

async function* waysToMysql(url) {
  const pool = mysql.createPool(url);
  const plain = callbacks.createPool(url);
  const outside = await pool.getConnection();
  const begin = within(() => pool.getConnection());
  yield { open: (options) => connect(url, options), begin, outside };
  yield { open: (options) => mysqlBackend(pool, options), begin, outside };
  yield { open: (options) => mysqlBackend(plain, options), begin, outside };
  outside.release();
  await pool.end();
  await plain.promise().end();
}

async function tryWay({ open, begin, outside }, mode) {
  const first = await open({ mode });
  const second = await open({ mode });
  const lock = await getLock(NAME, { backend: first });
  assert.equal(await tryLock(NAME, { backend: second }), undefined);
  const waiting = getLock(NAME, { backend: second, wait: 20 });
  assert.equal(await lock.verify(), true);
  if (mode !== "session") {
    await begin((client) => lock.guard(client));
    await assert.rejects(lock.guard(outside), TypeError);
  }
  assert.equal(await lock.unlock(), true);
  const next = await waiting;
  assert(next.token > lock.token);
  if (mode !== "session") await assert.rejects(begin((client) => lock.guard(client)), { name: "LockLost" });
  await first[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
  assert.equal(next.held, false);
}

const waysTo = { sqlite: waysToSqlite, postgres: waysToPostgres, mysql: waysToMysql };
let ways = 0;
for (const url of process.argv.slice(2)) {
  const [engine] = url.split(":");
  for await (const way of waysTo[engine](url)) {
    for (const mode of engine === "sqlite" ? ["lease"] : ["lease", "session", "hybrid"]) {
      await tryWay(way, mode);
      ways++;
    }
  }
}
console.log(ways);
`;

/** What each driver's own types must fit. */
const TYPES = `
import type { Lock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import callbacks from "mysql2";
import mysql from "mysql2/promise";
import pg from "pg";
import postgres from "postgres";

export async function all(lock: Lock): Promise<void> {
  const pool = mysql.createPool("mysql://h/d");
  const sql = postgres("postgres://h/d");
  const pgPool = new pg.Pool();
  await mysqlBackend(pool, { mode: "hybrid" });
  await mysqlBackend(callbacks.createPool("mysql://h/d"));
  await mysqlBackend((text, parameters) => pool.query(text, parameters));
  await postgresBackend(sql);
  await postgresBackend(pgPool);
  await postgresBackend((text, parameters) => pgPool.query(text, parameters));
  await postgresBackend((text, parameters) => sql.unsafe(text, parameters));
  await sql.begin((transaction) => lock.guard(transaction));
  await sql.begin((transaction) => advisoryLock(transaction, 1n));
  for (const client of [sql, pgPool, await pgPool.connect()]) await advisoryLock(client, "report");
  await lock.guard(await pgPool.connect());
  await lock.guard(await pool.getConnection());
}
`;
const TSC = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "--types", "node"];

/** The oldest Node that the package asks for, and Bun. */
const OLDEST = [oldestNode, runtimes.find(({ kind }) => kind === "bun")!];

test("the oldest versions of drivers that the package asks for work in every mode", async () => {
  const { peerDependencies, engines } = JSON.parse(await readFile(join(installedPackage, "package.json"), "utf8"));
  const oldest = Object.entries(peerDependencies as Record<string, string>).map((
    [name, range],
  ) => [name, range.slice(1)]);
  assert.deepEqual(oldest.map(([name]) => name).sort(), ["mysql2", "pg", "postgres"]);
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-oldest-"));
  try {
    const dependencies = {
      "@lockmgr/lockmgr": `file:${join(process.cwd(), "lockmgr.tgz")}`,
      ...Object.fromEntries(oldest),
      "@types/pg": Object.fromEntries(oldest).pg,
      "@types/node": "^22.0.0",
    };
    await writeFile(join(directory, "package.json"), JSON.stringify({ private: true, type: "module", dependencies }));
    await writeFile(join(directory, "program.js"), PROGRAM);
    await writeFile(join(directory, "types.ts"), TYPES);
    await npmInstall(directory);
    await runTool(directory, "typescript-7.0", [...TSC, "types.ts"]);
    await using postgres = await PostgresServer.start();
    await using mysql = await startMysql();
    await using mariadb = await startMariadb();
    const urls = [postgres, mysql, mariadb].map(({ url }) => url);
    await Promise.all(OLDEST.map(async (runtime) => {
      const program = await programOf(runtime);
      if (runtime.kind === "node") assert.equal(engines.node, `>=${(await versionOf(program)).replace(/\.0$/, "")}`);
      const options = { cwd: directory, timeout: 120_000 };
      const { code, output } = await command(program, ["program.js", `sqlite:${runtime.kind}.db`, ...urls], options);
      assert.equal(code, 0, `${runtime.name}: ${output}`);
      assert.match(output, /^28$/m, runtime.name);
    }));
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
