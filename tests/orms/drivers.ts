/**
 * The drivers of servers without an ORM, tried as an ORM is; those of SQLite are in `tests/drivers/`.
 *
 * @module
 */
import { connect } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import callbacks from "mysql2";
import mysql from "mysql2/promise";
import pg from "pg";
import postgres from "postgres";
import type { Cell, Orm } from "./orm.ts";
import { load } from "./packages.ts";

/** A connection on which a program begins and commits by itself. */
interface Connection {
  query(sql: string): PromiseLike<unknown>;
  release(): unknown;
}

/** A pool whose connections begin transactions by statements; `client` is what a connection is passed to the guard as. */
function cellOf<C extends Connection>(
  backend: Cell["backend"],
  connect: () => Promise<C>,
  end: () => Promise<void>,
  client: (connection: C) => object = (connection) => connection,
): Promise<Cell> {
  const use = async (body: (connection: C) => Promise<void>) => {
    const connection = await connect();
    try {
      await body(connection);
    } finally {
      await connection.query("ROLLBACK");
      await connection.release();
    }
  };
  return Promise.resolve({
    backend,
    guard: (lock, guarded) =>
      use(async (connection) => {
        await connection.query("BEGIN");
        await lock.guard(client(connection));
        await guarded();
        await connection.query("COMMIT");
      }),
    guardOutside: (lock) => use((connection) => lock.guard(client(connection))),
    [Symbol.asyncDispose]: end,
  });
}

function nodePostgres(connectionString: string): Promise<Cell> {
  const pool = new pg.Pool({ connectionString });
  return cellOf(() => postgresBackend(pool), () => pool.connect(), () => pool.end());
}

function postgresJs(url: string): Promise<Cell> {
  const sql = postgres(url, { onnotice: () => {} });
  return Promise.resolve({
    backend: () => postgresBackend(sql),
    guard: async (lock, guarded) =>
      void await sql.begin(async (transaction) => {
        await lock.guard(transaction);
        await guarded();
      }),
    guardOutside: (lock) => lock.guard(sql),
    [Symbol.asyncDispose]: () => sql.end(),
  });
}

function mysql2(url: string): Promise<Cell> {
  const pool = mysql.createPool(url);
  return cellOf(() => mysqlBackend(pool), () => pool.getConnection(), () => pool.end());
}

function mysql2WithCallbacks(url: string): Promise<Cell> {
  const pool = callbacks.createPool(url);
  const promises = pool.promise();
  const client = ({ connection }: mysql.PoolConnection) => connection; // the callback connection
  return cellOf(() => mysqlBackend(pool), () => promises.getConnection(), () => promises.end(), client);
}

function mariadb(url: string): Promise<Cell> {
  const pool = load("mariadb").createPool(url.replace(/^mysql:/, "mariadb:"));
  return cellOf(
    () => mysqlBackend((sql, parameters) => pool.query(sql, parameters)),
    () => pool.getConnection(),
    () => pool.end(),
  );
}

/** What is used of Bun's own client. */
interface BunSql {
  unsafe(text: string, parameters?: readonly unknown[]): Promise<object[]>;
  begin(body: (transaction: object) => Promise<void>): Promise<void>;
  end(): Promise<void>;
}

/** Bun's own client: refused by name, and a backend through a function. */
async function bunSql(
  url: string,
  open: (target: never) => ReturnType<Cell["backend"]>,
): Promise<Cell> {
  const { SQL } = (globalThis as unknown as { Bun: { SQL: new (url: string) => BunSql } }).Bun;
  const sql = new SQL(url);
  for (const wrong of [open, connect]) {
    await assert.rejects(wrong(sql as never), { name: "TypeError", message: /Bun's "SQL"/ });
  }
  const execute = (text: string, parameters: readonly unknown[]) => sql.unsafe(text, parameters);
  return {
    backend: () => open(execute as never),
    guard: (lock, guarded) =>
      sql.begin(async (transaction) => {
        await lock.guard(transaction);
        await guarded();
      }),
    guardOutside: (lock) => lock.guard(sql),
    [Symbol.asyncDispose]: () => sql.end(),
  };
}

const bunOnMysql = (url: string) => bunSql(url, mysqlBackend);
const bunEngines = {
  postgres: (url: string) => bunSql(url, postgresBackend),
  mysql: bunOnMysql,
  mariadb: bunOnMysql,
};

/** The drivers. */
export const drivers: readonly Orm[] = [
  { name: "pg", engines: { postgres: nodePostgres } },
  { name: "postgres.js", engines: { postgres: postgresJs } },
  { name: "mysql2", engines: { mysql: mysql2, mariadb: mysql2 } },
  { name: "mysql2 with callbacks", engines: { mysql: mysql2WithCallbacks, mariadb: mysql2WithCallbacks } },
  { name: "the package mariadb", engines: { mysql: mariadb, mariadb } },
  { name: "Bun's SQL", engines: "Bun" in globalThis ? bunEngines : {} },
];
