// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import type { Cell, Orm } from "../orm.ts";
import { load } from "../packages.ts";

const { CompiledQuery, Kysely, MysqlDialect, PostgresDialect, SqliteDialect } = load("kysely");

/** What is the same on every engine. */
function cellOf(db: any, backend: Cell["backend"]): Promise<Cell> {
  return Promise.resolve({
    backend,
    guard: (lock, guarded) =>
      db.transaction().execute(async (trx: any) => {
        await lock.guard((text: string, parameters: string[]) => trx.executeQuery(CompiledQuery.raw(text, parameters)));
        await guarded();
      }),
    guardOutside: (lock) =>
      lock.guard((text: string, parameters: string[]) => db.executeQuery(CompiledQuery.raw(text, parameters))),
    [Symbol.asyncDispose]: () => db.destroy(),
  });
}

function mysql(url: string): Promise<Cell> {
  const db = new Kysely({ dialect: new MysqlDialect({ pool: load("mysql2").createPool(url) }) });
  return cellOf(db, () => mysqlBackend((sql, parameters) => db.executeQuery(CompiledQuery.raw(sql, parameters))));
}

function postgres(url: string): Promise<Cell> {
  const db = new Kysely({ dialect: new PostgresDialect({ pool: new (load("pg").Pool)({ connectionString: url }) }) });
  return cellOf(db, () => postgresBackend((text, parameters) => db.executeQuery(CompiledQuery.raw(text, parameters))));
}

function sqlite(path: string): Promise<Cell> {
  const database = new (load("better-sqlite3"))(path);
  return cellOf(new Kysely({ dialect: new SqliteDialect({ database }) }), () => sqliteBackend(database));
}

/** https://kysely.dev */
export const kysely: Orm = { name: "Kysely", engines: { postgres, mysql, mariadb: mysql, sqlite } };
