// deno-lint-ignore-file no-explicit-any -- the packages are loaded when the tests run
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import type { Cell, Orm } from "../orm.ts";
import { load } from "../packages.ts";

function mysql(url: string): Promise<Cell> {
  const db = load("drizzle-orm/mysql2").drizzle(url);
  return Promise.resolve({
    backend: () => mysqlBackend(db.$client),
    guard: (lock, guarded) =>
      db.transaction(async (tx: any) => {
        await lock.guard(tx.session.client);
        await guarded();
      }),
    guardOutside: (lock) => lock.guard(db.$client),
    [Symbol.asyncDispose]: () => db.$client.promise().end(),
  });
}

function postgres(url: string): Promise<Cell> {
  const db = load("drizzle-orm/node-postgres").drizzle(url);
  return Promise.resolve({
    backend: () => postgresBackend(db.$client),
    guard: (lock, guarded) =>
      db.transaction(async (tx: any) => {
        await lock.guard(tx.session.client);
        await guarded();
      }),
    guardOutside: (lock) => lock.guard(db.$client),
    [Symbol.asyncDispose]: () => db.$client.end(),
  });
}

function sqlite(path: string): Promise<Cell> {
  const db = load("drizzle-orm/better-sqlite3").drizzle(path);
  return Promise.resolve({
    backend: () => sqliteBackend(db.$client),
    guard: (lock) => Promise.resolve().then(() => db.transaction(() => lock.guardSync(db.$client))),
    guardOutside: (lock) => Promise.resolve().then(() => lock.guardSync(db.$client)),
    [Symbol.asyncDispose]: () => Promise.resolve(db.$client.close()),
  });
}

/** https://orm.drizzle.team */
export const drizzle: Orm = { name: "Drizzle", engines: { postgres, mysql, mariadb: mysql, sqlite } };
