// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import type { Cell, Engine, Orm } from "../orm.ts";
import { load } from "../packages.ts";

const { CompiledQuery } = load("kysely");

/** How the backend is opened on each engine. */
const BACKENDS: Record<Engine, (kysely: any, path: string) => ReturnType<Cell["backend"]>> = {
  mysql: (kysely) => mysqlBackend((sql, parameters) => kysely.executeQuery(CompiledQuery.raw(sql, parameters))),
  mariadb: (kysely) => mysqlBackend((sql, parameters) => kysely.executeQuery(CompiledQuery.raw(sql, parameters))),
  postgres: (kysely) => postgresBackend((text, parameters) => kysely.executeQuery(CompiledQuery.raw(text, parameters))),
  sqlite: (_kysely, filename) => sqliteBackend(filename),
};

async function open(engine: Engine, name: string, options: { clientUrl?: string; dbName?: string }): Promise<Cell> {
  const { MikroORM } = load(`@mikro-orm/${name}`);
  const orm = await MikroORM.init({ ...options, entities: [], discovery: { warnWhenNoEntities: false } });
  await orm.connect();
  const kysely = orm.em.getConnection().getClient();
  const guard = (lock: any, kysely: any) =>
    lock.guard((text: string, parameters: string[]) => kysely.executeQuery(CompiledQuery.raw(text, parameters)));
  return {
    backend: () => BACKENDS[engine](kysely, options.dbName!),
    guard: (lock, guarded) =>
      orm.em.transactional(async (em: any) => {
        await guard(lock, em.getTransactionContext());
        await guarded();
      }),
    guardOutside: (lock) => guard(lock, kysely),
    [Symbol.asyncDispose]: () => orm.close(),
  };
}

/** https://mikro-orm.io */
export const mikroOrm: Orm = {
  name: "MikroORM",
  engines: {
    postgres: (clientUrl) => open("postgres", "postgresql", { clientUrl }),
    mysql: (clientUrl) => open("mysql", "mysql", { clientUrl }),
    mariadb: (clientUrl) => open("mariadb", "mariadb", { clientUrl }),
    sqlite: (dbName) => open("sqlite", "sqlite", { dbName }),
  },
};
