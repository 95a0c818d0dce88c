/**
 * The SQLite drivers that are there on the runtime at hand.
 *
 * @module
 */
import type { SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import { dbSqlite } from "./stand_ins.ts";

/** A driver whose handles are accepted. */
export interface Driver {
  /** The name of its package. */
  readonly name: string;
  /** Opens a file as a program would, in write-ahead mode. */
  open(path: string): Promise<SqliteDatabase>;
}

function driver(name: string, constructor: (module: never) => new (path: string) => SqliteDatabase): Driver {
  return {
    name,
    async open(path) {
      const Database = constructor(await import(name) as never);
      const database = new Database(path);
      database.exec("PRAGMA journal_mode = WAL");
      return database;
    },
  };
}

/** The shapes: the one of the runtimes themselves, Bun's own, and that of better-sqlite3, which libsql has as well. */
export const drivers: readonly Driver[] = [
  driver("node:sqlite", (module: typeof import("node:sqlite")) => module.DatabaseSync),
  {
    name: "node:sqlite with returnArrays and readBigInts",
    async open(path) {
      const { DatabaseSync } = await import("node:sqlite");
      const database = new DatabaseSync(path, { returnArrays: true, readBigInts: true } as object);
      database.exec("PRAGMA journal_mode = WAL");
      return database;
    },
  },
  {
    name: "node:sqlite before Node 22.16, which does not tell of transactions",
    async open(path) {
      const { DatabaseSync } = await import("node:sqlite");
      const database = new DatabaseSync(path);
      database.exec("PRAGMA journal_mode = WAL");
      return {
        exec: (sql) => database.exec(sql),
        prepare: (sql) => database.prepare(sql),
        close: () => database.close(),
      } as SqliteDatabase;
    },
  },
  {
    name: "a stand-in for @db/sqlite",
    open(path) {
      const database = dbSqlite(path);
      database.exec("PRAGMA journal_mode = WAL");
      return Promise.resolve(database);
    },
  },
  {
    name: "a stand-in for @db/sqlite with int64, where all JSON comes parsed",
    open(path) {
      const database = dbSqlite(path, { int64: true, parsed: true });
      database.exec("PRAGMA journal_mode = WAL");
      return Promise.resolve(database);
    },
  },
  driver("libsql", (module: { default: new (path: string) => SqliteDatabase }) => module.default),
  {
    name: "libsql with safe integers",
    async open(path) {
      const { default: Database } = await import("libsql");
      const database = new Database(path);
      database.defaultSafeIntegers(true);
      database.exec("PRAGMA journal_mode = WAL");
      return database as unknown as SqliteDatabase;
    },
  },
  ...("Bun" in globalThis
    ? [
      driver("bun:sqlite", (module: { Database: new (path: string) => SqliteDatabase }) => module.Database),
      {
        name: "bun:sqlite with safeIntegers and strict",
        async open(path: string) {
          const module = "bun:sqlite";
          const { Database } = await import(module);
          const database = new Database(path, { create: true, readwrite: true, safeIntegers: true, strict: true });
          database.exec("PRAGMA journal_mode = WAL");
          return database;
        },
      },
    ]
    : []),
];
