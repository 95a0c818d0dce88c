/**
 * Each ORM, and each driver of a server, on each engine: a backend, the guard inside its own transaction, and the refusal outside of one.
 *
 * @module
 */
import { connect, getLock, isLocked, setLock, tryLock, unlock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { ask, freshDatabase } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { drivers } from "./drivers.ts";
import type { Cell, Engine, Orm } from "./orm.ts";
import { drizzle } from "./orms/drizzle.ts";
import { knex } from "./orms/knex.ts";
import { kysely } from "./orms/kysely.ts";
import { mikroOrm } from "./orms/mikro_orm.ts";
import { prisma } from "./orms/prisma.ts";
import { load } from "./packages.ts";
import { sequelize } from "./orms/sequelize.ts";
import { typeorm } from "./orms/typeorm.ts";

/** A database of one test's own. */
interface Database extends AsyncDisposable {
  readonly url: string;
  /** Locks the row of a lock in a transaction of its own. */
  lockRow?(): Promise<unknown>;
}

/** Fails while a transaction keeps the row. */
const LOCK_ROW = "SELECT * FROM lockmgr_locks WHERE name = 'a' FOR UPDATE NOWAIT";

async function askPostgres(connectionString: string, statement: string): Promise<void> {
  const client = new (load("pg").Client)({ connectionString });
  await client.connect();
  await client.query(statement).finally(() => client.end());
}

async function mysqlDatabase(server: MysqlServer): Promise<Database> {
  const { url, drop } = await freshDatabase(server);
  return { url, lockRow: () => ask(url, LOCK_ROW), [Symbol.asyncDispose]: drop };
}

let databases = 0;

/** Starts what serves an engine; the result makes a database of a test's own. */
const ENGINES: Record<Engine, () => Promise<() => Promise<Database>>> = {
  async postgres() {
    const server = await PostgresServer.start();
    return async () => {
      const name = `orm_${++databases}`;
      await askPostgres(server.url, `CREATE DATABASE ${name}`);
      const url = server.urlOf(name);
      return { url, lockRow: () => askPostgres(url, LOCK_ROW), [Symbol.asyncDispose]: () => Promise.resolve() };
    };
  },
  async mysql() {
    const server = await startMysql();
    return () => mysqlDatabase(server);
  },
  async mariadb() {
    const server = await startMariadb();
    return () => mysqlDatabase(server);
  },
  sqlite() {
    return Promise.resolve(async () => {
      const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
      return { url: join(directory, "app.db"), [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
    });
  },
};

async function tryCell(cell: Cell, { url, lockRow }: Database): Promise<void> {
  await using backend = await cell.backend();
  await using other = await connect(url);
  const lock = await getLock("a", { backend, metadata: { shard: 7 } });
  assert.equal(await tryLock("a", { backend: other }), undefined);
  assert.deepEqual((await lock.refresh()).metadata, { shard: 7 });
  await assert.rejects(setLock(["b", "a"], { backend, fail: true, renew: false }), { name: "LockFail" });
  await assert.rejects(cell.guardOutside(lock), {
    name: "TypeError",
    message: /no transaction is open|of the open transaction/,
  });
  await cell.inTransaction?.(() => assert.rejects(tryLock("c", { backend }), { name: "UnsupportedError" }));
  assert.equal(await isLocked("c", { backend: other }), false);
  await cell.guard(lock, async () => {
    if (lockRow) await assert.rejects(lockRow());
  });
  assert(lock.held);
  await unlock("a", { backend: other });
  await assert.rejects(cell.guard(lock, () => Promise.resolve()), { name: "LockLost" });
}

const chosen = process.env.LOCKMGR_TEST_ENGINES?.split(",");
const orms: readonly Orm[] = [drizzle, kysely, knex, typeorm, sequelize, mikroOrm, prisma, ...drivers];

for (const [engine, start] of Object.entries(ENGINES)) {
  if (chosen && !chosen.includes(engine === "mariadb" ? "mysql" : engine)) continue;
  const create = await start();
  for (const { name, engines } of orms) {
    const open = engines[engine as Engine];
    if (!open || (name === "MikroORM" && "Deno" in globalThis)) continue; // Deno finds no imports of packages outside of it
    test(`${name} on ${engine}: a backend, the guard in a transaction, and the refusal outside of one`, async () => {
      await using database = await create();
      await using cell = await open(database.url);
      await tryCell(cell, database);
    });
  }
}
