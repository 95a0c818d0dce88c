// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import type { Cell, Orm } from "../orm.ts";
import { load } from "../packages.ts";

/** What is the same on every engine. */
function cellOf(knex: any, backend: Cell["backend"]): Promise<Cell> {
  return Promise.resolve({
    backend,
    guard: (lock, guarded) =>
      knex.transaction(async (trx: any) => {
        await lock.guard(await trx.client.acquireConnection());
        await guarded();
      }),
    async guardOutside(lock) {
      const connection = await knex.client.acquireConnection();
      await lock.guard(connection).finally(() => knex.client.releaseConnection(connection));
    },
    [Symbol.asyncDispose]: () => knex.destroy(),
  });
}

function mysql(url: string): Promise<Cell> {
  const knex = load("knex")({ client: "mysql2", connection: url });
  return cellOf(knex, () => mysqlBackend((sql) => knex.raw(sql)));
}

function postgres(url: string): Promise<Cell> {
  const knex = load("knex")({ client: "pg", connection: url });
  return cellOf(knex, () =>
    postgresBackend(async (text, parameters) => {
      const connection = await knex.client.acquireConnection();
      return await connection.query(text, parameters).finally(() => knex.client.releaseConnection(connection));
    }));
}

function sqlite(filename: string): Promise<Cell> {
  const knex = load("knex")({ client: "better-sqlite3", connection: { filename }, useNullAsDefault: true });
  return cellOf(knex, () => sqliteBackend(filename));
}

/** https://knexjs.org */
export const knex: Orm = { name: "Knex", engines: { postgres, mysql, mariadb: mysql, sqlite } };
