/**
 * Asking a MySQL or MariaDB for tests, beside the library under test.
 *
 * @module
 */
import { type Connection, createConnection } from "mysql2/promise";
import process from "node:process";
import type { MysqlServer } from "./mysql_server.ts";

/** A row of an answer. */
// deno-lint-ignore no-explicit-any -- tests look into it as they like
export type AnyRow = Record<string, any>;

/** A connection to a server that may still be counting those that have just been closed. */
async function connect(url: string): Promise<Connection> {
  for (let tries = 0;; tries++) {
    try {
      return await createConnection({ uri: url, supportBigNumbers: true, bigNumberStrings: true });
    } catch (error) {
      if ((error as { code?: string }).code !== "ER_CON_COUNT_ERROR" || tries === 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Sends statements on one connection and closes it. */
export async function ask(url: string, ...statements: string[]): Promise<AnyRow[]> {
  const connection = await connect(url);
  try {
    let rows: unknown = [];
    for (const sql of statements) [rows] = await connection.query(sql);
    return rows as AnyRow[];
  } finally {
    await connection.end();
  }
}

let count = 0;

/** A database of one test's own on a server that serves many. */
export async function freshDatabase(
  server: MysqlServer,
): Promise<{ name: string; url: string; drop(): Promise<void> }> {
  const name = `test_${process.pid}_${++count}`;
  await ask(server.url, `CREATE DATABASE ${name}`);
  const drop = async () => {
    await ask(server.url, `DROP DATABASE ${name}`);
  };
  return { name, url: server.urlOf(name), drop };
}
