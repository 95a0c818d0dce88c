// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import type { Cell, Engine, Orm } from "../orm.ts";
import { load } from "../packages.ts";

/** How the backend is opened on each engine. */
const BACKENDS: Record<Engine, (dataSource: any) => ReturnType<Cell["backend"]>> = {
  mysql: (dataSource) => mysqlBackend((sql) => dataSource.query(sql)),
  mariadb: (dataSource) => mysqlBackend((sql) => dataSource.query(sql)),
  postgres: (dataSource) => postgresBackend((text, parameters) => dataSource.query(text, parameters)),
  sqlite: (dataSource) => sqliteBackend(dataSource.driver.databaseConnection),
};

async function open(engine: Engine, options: object): Promise<Cell> {
  const dataSource = await new (load("typeorm").DataSource)(options).initialize();
  return {
    backend: () => BACKENDS[engine](dataSource),
    guard: (lock, guarded) =>
      dataSource.transaction(async (manager: any) => {
        await lock.guard((text: string, parameters: string[]) => manager.query(text, parameters));
        await guarded();
      }),
    guardOutside: (lock) =>
      lock.guard((text: string, parameters: string[]) => dataSource.manager.query(text, parameters)),
    [Symbol.asyncDispose]: () => dataSource.destroy(),
  };
}

/** https://typeorm.io */
export const typeorm: Orm = {
  name: "TypeORM",
  engines: {
    postgres: (url) => open("postgres", { type: "postgres", url }),
    mysql: (url) => open("mysql", { type: "mysql", url }),
    mariadb: (url) => open("mariadb", { type: "mariadb", url }),
    sqlite: (database) => open("sqlite", { type: "better-sqlite3", database }),
  },
};
