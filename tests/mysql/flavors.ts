/**
 * The two servers that every test of this engine runs on.
 *
 * @module
 */
import type { Backend } from "@lockmgr/lockmgr";
import { mysqlBackend, type MysqlOptions } from "@lockmgr/lockmgr/mysql";
import process from "node:process";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { type AnyRow, ask, freshDatabase } from "../servers/mysql_database.ts";
import { MysqlServer, type MysqlServerOptions } from "../servers/mysql_server.ts";

/** One kind of server. */
export interface Flavor {
  /** Its name. */
  readonly name: "mysql" | "mariadb";
  /** Starts one of a test's own. */
  start(options?: MysqlServerOptions): Promise<MysqlServer>;
  /** The one that many tests share. */
  readonly shared: MysqlServer;
}

/**
 * The server that all test files of this process share. Deno runs them one after another, each with modules of its own:
 * the environment is what they have in common. With two servers for each file a whole test run took 20 GiB.
 */
async function sharedServer(name: Flavor["name"], start: () => Promise<MysqlServer>): Promise<MysqlServer> {
  const variable = `LOCKMGR_TEST_PORT_${name}_${process.pid}`;
  const port = process.env[variable];
  if (port !== undefined) return MysqlServer.at(Number(port));
  const server = await start();
  process.env[variable] = `${server.port}`;
  return server;
}

/** MySQL and MariaDB. */
export const flavors: readonly Flavor[] = [
  { name: "mysql", start: startMysql, shared: await sharedServer("mysql", startMysql) },
  { name: "mariadb", start: startMariadb, shared: await sharedServer("mariadb", startMariadb) },
];

/** A database of one test's own on a shared server. */
export interface Place extends AsyncDisposable {
  /** The server. */
  readonly server: MysqlServer;
  /** The kind of server. */
  readonly flavor: Flavor;
  /** The database's name. */
  readonly name: string;
  /** The database's address. */
  readonly url: string;
  /** A backend on it, closed with the place. */
  backend(options?: MysqlOptions): Promise<Backend>;
  /** Asks the server, beside the library. */
  ask(...statements: string[]): Promise<AnyRow[]>;
}

/** The connections to a place's database, by id, but the one that asks. */
export async function connectionsTo({ ask, name }: Pick<Place, "ask" | "name">): Promise<number[]> {
  const rows = await ask(
    `SELECT id AS id FROM information_schema.processlist WHERE db = '${name}' AND id <> CONNECTION_ID()`,
  );
  return rows.map(({ id }) => Number(id));
}

/**
 * The shortest time (ms) of up to three waits, of which one has to take less than `enough`: the machine may stand still
 * in the others.
 */
export async function shortestOf(enough: number, wait: () => Promise<unknown>): Promise<number> {
  let shortest = Infinity;
  for (let round = 0; round < 3 && shortest >= enough; round++) {
    const startedAt = performance.now();
    await wait();
    shortest = Math.min(shortest, performance.now() - startedAt);
  }
  return shortest;
}

/** A place on a server. */
export async function placeOn(server: MysqlServer, flavor: Flavor): Promise<Place> {
  const { name, url, drop } = await freshDatabase(server);
  const opened: Backend[] = [];
  const place: Place = {
    server,
    flavor,
    name,
    url,
    async backend(options = {}) {
      const backend = await mysqlBackend(url, options);
      opened.push(backend);
      return backend;
    },
    ask: (...statements) => ask(url, ...statements),
    async [Symbol.asyncDispose]() {
      for (const backend of opened) await backend[Symbol.asyncDispose]();
      await until("no connection is left behind", async () => (await connectionsTo(place)).length === 0);
      await drop();
    },
  };
  return place;
}

/** Registers a test for each kind of server, with a database of its own on the shared one. */
export function onEach(name: string, run: (place: Place) => Promise<void>): void {
  for (const flavor of flavors) {
    test(`${flavor.name}: ${name}`, async () => {
      await using place = await placeOn(flavor.shared, flavor);
      await run(place);
    });
  }
}

/** Registers a test for each kind of server, on one of its own with these settings. */
export function onOwn(name: string, settings: readonly string[], run: (place: Place) => Promise<void>): void {
  for (const flavor of flavors) {
    test(`${flavor.name}: ${name}`, async () => {
      await using server = await flavor.start({ settings });
      await using place = await placeOn(server, flavor);
      await run(place);
    });
  }
}

/** Comes back when the condition holds; fails when it does not within `patience` (ms). */
export async function until(what: string, holds: () => boolean | Promise<boolean>, patience = 20_000): Promise<void> {
  const startedAt = performance.now();
  while (!await holds()) {
    if (performance.now() - startedAt > patience) throw new Error(`Waited ${patience} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
