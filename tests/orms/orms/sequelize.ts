// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { AsyncLocalStorage } from "node:async_hooks";
import type { Cell, Orm } from "../orm.ts";
import { load } from "../packages.ts";

const { Sequelize } = load("sequelize");

/** What Sequelize uses of the package cls-hooked, so that statements join the transaction that surrounds them. */
const storage = new AsyncLocalStorage<Map<string, unknown>>();
Sequelize.useCLS({
  bind: (body: unknown) => body,
  run: (body: () => void) => storage.run(new Map(storage.getStore()), body),
  get: (name: string) => storage.getStore()?.get(name),
  set: (name: string, value: unknown) => storage.getStore()?.set(name, value),
});

/** What is the same on every engine. */
function cellOf(sequelize: any, backend: Cell["backend"]): Promise<Cell> {
  return Promise.resolve({
    backend,
    guard: (lock, guarded) =>
      sequelize.transaction(async (transaction: any) => {
        await lock.guard(transaction.connection);
        await guarded();
      }),
    async guardOutside(lock) {
      const connection = await sequelize.connectionManager.getConnection();
      await lock.guard(connection).finally(() => sequelize.connectionManager.releaseConnection(connection));
    },
    inTransaction: (body) => sequelize.transaction(body),
    [Symbol.asyncDispose]: () => sequelize.close(),
  });
}

function mysql(url: string): Promise<Cell> {
  const sequelize = new Sequelize(url, { logging: false });
  return cellOf(
    sequelize,
    () => mysqlBackend((sql) => sequelize.query(sql, { type: /^\s*S(ELECT|HOW)/.test(sql) ? "SELECT" : "RAW" })),
  );
}

function postgres(url: string): Promise<Cell> {
  const sequelize = new Sequelize(url, { logging: false });
  return cellOf(
    sequelize,
    () => postgresBackend((text, parameters) => sequelize.query(text, { bind: parameters, type: "SELECT" })),
  );
}

/** https://sequelize.org. Not on SQLite, for which it wants the package sqlite3, whose program cannot be installed. */
export const sequelize: Orm = {
  name: "Sequelize",
  engines: { postgres, mysql, mariadb: (url) => mysql(url.replace(/^mysql:/, "mariadb:")) },
};
