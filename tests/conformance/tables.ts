/**
 * The lock table of a test's database, asked beside the library.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import pg from "pg";
import { ask } from "../servers/mysql_database.ts";

/** A lock table. */
export interface Table {
  /** Its name. */
  readonly name: string;
  /** Sends a statement on a connection of its own. */
  ask(sql: string): Promise<Record<string, unknown>[]>;
  /** When a row was last written, so many seconds earlier, as an expression. */
  earlier(seconds: number): string;
}

/** The table in a file of SQLite. */
export function sqliteTable(path: string): Table {
  return {
    name: "lockmgr_locks",
    ask(sql) {
      const database = new DatabaseSync(path);
      try {
        return Promise.resolve(database.prepare(sql).all());
      } finally {
        database.close();
      }
    },
    earlier: (seconds) => `updated_at - ${seconds * 1e6}`,
  };
}

/** A table of PostgreSQL. */
export function postgresTable(url: string, name: string): Table {
  return {
    name,
    async ask(sql) {
      const client = new pg.Client(url);
      await client.connect();
      try {
        return (await client.query(sql)).rows;
      } finally {
        await client.end();
      }
    },
    earlier: (seconds) => `updated_at - interval '${seconds} seconds'`,
  };
}

/** The table in a database of MySQL or MariaDB. */
export function mysqlTable(url: string): Table {
  return {
    name: "lockmgr_locks",
    ask: (sql) => ask(url, sql),
    earlier: (seconds) => `updated_at - ${seconds * 1e6}`,
  };
}
