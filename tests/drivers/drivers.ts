/**
 * The SQLite drivers that are there on the runtime at hand.
 *
 * @module
 */
import type { SqliteDatabase } from "@lockmgr/lockmgr/sqlite";

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
  driver("libsql", (module: { default: new (path: string) => SqliteDatabase }) => module.default),
  ...("Bun" in globalThis
    ? [driver("bun:sqlite", (module: { Database: new (path: string) => SqliteDatabase }) => module.Database)]
    : []),
];
