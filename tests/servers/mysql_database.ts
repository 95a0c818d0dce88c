/**
 * Asking a MySQL or MariaDB for tests, beside the library under test.
 *
 * @module
 */
import { type Connection, createConnection } from "mysql2/promise";
import type { MysqlServer } from "./mysql_server.ts";

/** A row of an answer. */
// deno-lint-ignore no-explicit-any -- tests look into it as they like
export type AnyRow = Record<string, any>;

/** A connection to a server that may still be counting those that have just been closed. */
async function connect(url: string): Promise<Connection> {
  for (let tries = 0;; tries++) {
    try {
      return await createConnection({
        uri: url,
        connectTimeout: 60_000,
        supportBigNumbers: true,
        bigNumberStrings: true,
      });
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

/** Several test files of one process may use one server, each with this module of its own. */
const unique = crypto.randomUUID().slice(0, 8);
let count = 0;

/** A database of one test's own on a server that serves many. */
export async function freshDatabase(
  server: MysqlServer,
): Promise<{ name: string; url: string; drop(): Promise<void> }> {
  const name = `test_${unique}_${++count}`;
  await ask(server.url, `CREATE DATABASE ${name}`);
  const drop = async () => {
    await ask(server.url, `DROP DATABASE ${name}`);
  };
  return { name, url: server.urlOf(name), drop };
}

/** The addresses of databases that tests have left, for each server. */
const left = new Map<MysqlServer, string[]>();

/**
 * A database without rows, for one test alone. The next test has it with its tables: the conformance suite has thousands of
 * tests, and with a database created and dropped for each it took 7 % longer.
 */
export async function emptyDatabase(server: MysqlServer): Promise<{ url: string; leave(): Promise<void> }> {
  const urls = left.get(server) ?? [];
  left.set(server, urls);
  const url = urls.pop() ?? (await freshDatabase(server)).url;
  const leave = async () => {
    const tables = await ask(url, "SHOW TABLES");
    if (tables.length > 0) await ask(url, ...tables.map((row) => `DELETE FROM ${Object.values(row)[0]}`));
    urls.push(url);
  };
  return { url, leave };
}
