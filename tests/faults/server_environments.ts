/**
 * Engines with a server: how it is killed and started again, and how its connections are cut.
 *
 * @module
 */
import type { Mode } from "@lockmgr/lockmgr";
import { type Connection, createConnection } from "mysql2/promise";
import postgres from "postgres";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { type AnyRow, ask, freshDatabase } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { PostgresServer } from "../servers/postgres.ts";
import type { Environment, Server } from "./environments.ts";

const MODES: readonly Mode[] = ["lease", "session", "hybrid"];

/** The same address through another port. */
function through(url: string, port: number): string {
  const other = new URL(url);
  other.port = String(port);
  return other.href;
}

/** Few enough to be used up in a moment, and more than twice what all workers use. */
const CONNECTIONS = 60;
/** What PostgreSQL and MySQL call it. */
const TOO_MANY_CONNECTIONS = ["53300", "ER_CON_COUNT_ERROR"];
/** How long the tests wait for a connection of their own while others have all (ms): half-open ones last ten seconds. */
const PLACE_WITHIN = 60_000;
/** Short enough that a connection which hears nothing is given up within a trial (seconds). */
const SESSION_TIMEOUT = 6;
const ANSWER_TIMEOUT = 4;

let databases = 0;

/** Waits until those who were sent away have left their places; who comes back at once keeps nobody waiting (ms). */
const LEAVING = 500;
const FILLING = 3_000;

async function gone(count: () => Promise<number>): Promise<void> {
  for (const until = performance.now() + LEAVING; performance.now() < until && await count() > 0;) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * Takes every connection: a server may give back the place of one that has ended later than it forgets it, and those who
 * were sent away may be back for a moment, to end what they had left there. Who keeps coming back has a place (ms).
 */
async function untilFull(fill: () => Promise<unknown>, full: () => Promise<boolean>): Promise<void> {
  const until = performance.now() + FILLING;
  do await fill(); while (!await full() && performance.now() < until);
}

/** Ends the connections to a database; counts them. */
const CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
const COUNT = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1";
const COUNT_OTHERS = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname <> $1";

/** Does something again while the server has no connection left: it may still be giving one back. */
async function onceThereIsRoom<T>(work: () => Promise<T>): Promise<T> {
  const startedAt = performance.now();
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const isFull = TOO_MANY_CONNECTIONS.includes((error as { code: string }).code);
      if (!isFull || performance.now() - startedAt > PLACE_WITHIN) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** Asks PostgreSQL on a connection of its own. */
function askPostgres(url: string, text: string, parameters: string[] = []): Promise<postgres.Row[]> {
  return onceThereIsRoom(async () => {
    const sql = postgres(url, { max_lifetime: null, max: 1, onnotice: () => {} });
    return await sql.unsafe(text, parameters).finally(() => sql.end());
  });
}

async function exhaustPostgres(url: string, database: string): Promise<AsyncDisposable> {
  const sql = postgres(url, { max_lifetime: null, max: CONNECTIONS, onnotice: () => {} });
  // Each takes a connection of its own as long as all are busy; those that are refused are what is wanted.
  const fill = () => Promise.allSettled(Array.from({ length: CONNECTIONS }, () => sql`SELECT pg_sleep(0.1)`));
  const count = async (question: string, ...parameters: string[]) =>
    Number((await sql.unsafe(question, parameters))[0].n);
  await fill();
  await sql.unsafe(CUT, [database]);
  await gone(() => count(COUNT, database));
  await untilFull(fill, async () => await count(COUNT_OTHERS, database) >= CONNECTIONS);
  return { [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) };
}

/** Has every commit of a PostgreSQL wait for a standby that is not there. */
async function obstructPostgres(url: string): Promise<AsyncDisposable> {
  const set = async (names: string) => {
    await askPostgres(url, `ALTER SYSTEM SET synchronous_standby_names = '${names}'`);
    await askPostgres(url, "SELECT pg_reload_conf()");
  };
  await set("absent");
  return { [Symbol.asyncDispose]: () => set("") };
}

/** PostgreSQL in every mode, on one server that is treated badly. */
export async function postgresEnvironments(): Promise<Environment[]> {
  const instance = await PostgresServer.start({ settings: { max_connections: String(CONNECTIONS) } });
  let kills = 0;
  return MODES.map((mode) => ({
    engine: "postgres",
    name: `postgres ${mode}`,
    mode,
    served: true,
    tolerance: { listening: true },
    async open() {
      const name = `trial_${++databases}`;
      const url = await instance.createDatabase(name);
      const ask = (text: string) => askPostgres(instance.url, text, [name]);
      const server: Server = {
        port: instance.port,
        targetAt: (port) => through(url, port),
        kill: () => ++kills % 2 ? instance.kill() : instance.crash(),
        start: () => instance.start(),
        cut: async () => void await ask(CUT),
        exhaust: () => exhaustPostgres(instance.url, name),
        obstruct: () => obstructPostgres(instance.url),
        connections: async () => Number((await ask(COUNT))[0].n),
      };
      return {
        target: url,
        options: { sessionTimeout: SESSION_TIMEOUT },
        server,
        [Symbol.asyncDispose]: async () => void await askPostgres(instance.url, `DROP DATABASE ${name} WITH (FORCE)`),
      };
    },
  }));
}

/** Ends the connections to a database; `query` asks the server. */
async function cutMysql(query: (sql: string) => Promise<AnyRow[]>, name: string): Promise<void> {
  for (const { id } of await query(connectionsTo(name))) {
    await query(`KILL ${id}`).catch((error) => {
      if (error.code !== "ER_NO_SUCH_THREAD") throw error; // it has ended by itself
    });
  }
}

const connectionsTo = (name: string) => `SELECT id AS id FROM information_schema.processlist WHERE db = '${name}'`;

async function exhaustMysql(url: string, database: string): Promise<AsyncDisposable> {
  const connections: Connection[] = [];
  const open = async () => {
    const connection = await createConnection(url);
    connection.on("error", () => {});
    connections.push(connection);
  };
  // Those that are refused are what is wanted.
  const fill = () => Promise.allSettled(Array.from({ length: CONNECTIONS + 2 }, open));
  await fill();
  const query = async (sql: string) => (await connections[0].query(sql))[0] as AnyRow[];
  await cutMysql(query, database);
  await gone(async () => (await query(connectionsTo(database))).length);
  const others = `SELECT COUNT(*) AS n FROM information_schema.processlist
    WHERE (db IS NULL OR db <> '${database}') AND command <> 'Daemon'`;
  await untilFull(fill, async () => Number((await query(others))[0].n) > CONNECTIONS);
  return {
    [Symbol.asyncDispose]: () => {
      for (const connection of connections) connection.destroy();
      return Promise.resolve();
    },
  };
}

/** The table that trials keep locks in. */
const TABLE = "lockmgr_locks";

/** Holds the table of the locks of a MySQL or MariaDB, as a program that copies it does. */
async function obstructMysql(url: string): Promise<AsyncDisposable> {
  const connection = await onceThereIsRoom(() => createConnection(url));
  connection.on("error", () => {});
  await connection.query("SET lock_wait_timeout = 5");
  await connection.query(`LOCK TABLES ${TABLE} WRITE`).catch(() => {}); // sessions have no table
  return { [Symbol.asyncDispose]: () => Promise.resolve(connection.destroy()) };
}

function mysqlModes(flavor: string, instance: MysqlServer): Environment[] {
  return MODES.map((mode) => ({
    engine: "mysql",
    name: `${flavor} ${mode}`,
    mode,
    served: true,
    async open() {
      const { name, url, drop } = await freshDatabase(instance);
      const server: Server = {
        port: instance.port,
        targetAt: (port) => through(url, port),
        kill: () => instance.kill(),
        start: () => instance.start(),
        cut: () => cutMysql((sql) => ask(instance.url, sql), name),
        exhaust: () => exhaustMysql(instance.url, name),
        obstruct: () => obstructMysql(url),
        connections: async () => (await ask(instance.url, connectionsTo(name))).length,
      };
      const options = { sessionTimeout: SESSION_TIMEOUT, answerTimeout: ANSWER_TIMEOUT };
      return { target: url, options, server, [Symbol.asyncDispose]: drop };
    },
  }));
}

const settings = [`--max-connections=${CONNECTIONS}`];

/** MySQL in every mode. */
export async function mysqlEnvironments(): Promise<Environment[]> {
  return mysqlModes("mysql", await startMysql({ settings }));
}

/** MariaDB in every mode. */
export async function mariadbEnvironments(): Promise<Environment[]> {
  return mysqlModes("mariadb", await startMariadb({ settings }));
}
