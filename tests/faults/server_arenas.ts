/**
 * Engines with a server: how it is killed and started again, and how its connections are cut.
 *
 * @module
 */
import type { Mode } from "@lockmgr/lockmgr";
import postgres from "postgres";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { ask, freshDatabase } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { PostgresServer } from "../servers/postgres.ts";
import type { Arena, Server } from "./arenas.ts";

const MODES: readonly Mode[] = ["lease", "session", "hybrid"];

/** The same address through another port. */
function through(url: string, port: number): string {
  const other = new URL(url);
  other.port = String(port);
  return other.href;
}

let tables = 0;

async function cutPostgres(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`;
  await sql.end();
}

/** PostgreSQL in every mode, on one server that is treated badly. */
export async function postgresArenas(): Promise<Arena[]> {
  const instance = await PostgresServer.start();
  const { url } = instance;
  const server: Server = {
    port: instance.port,
    targetAt: (port) => through(url, port),
    kill: () => instance.kill(),
    start: () => instance.start(),
    cut: () => cutPostgres(url),
  };
  return MODES.map((mode) => ({
    engine: "postgres",
    name: `postgres ${mode}`,
    mode,
    served: true,
    open: () =>
      Promise.resolve({
        target: url,
        options: { table: `trial_${tables++}` },
        server,
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }),
  }));
}

async function cutMysql(url: string): Promise<void> {
  const others = await ask(
    url,
    "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db IS NOT NULL",
  );
  for (const { id, ID } of others) {
    await ask(url, `KILL ${id ?? ID}`).catch((error) => {
      if (error.code !== "ER_NO_SUCH_THREAD") throw error; // it has ended by itself
    });
  }
}

function mysqlModes(flavor: string, instance: MysqlServer): Arena[] {
  return MODES.map((mode) => ({
    engine: "mysql",
    name: `${flavor} ${mode}`,
    mode,
    served: true,
    async open() {
      const { url, drop } = await freshDatabase(instance);
      const server: Server = {
        port: instance.port,
        targetAt: (port) => through(url, port),
        kill: () => instance.kill(),
        start: () => instance.start(),
        cut: () => cutMysql(url),
      };
      return { target: url, options: {}, server, [Symbol.asyncDispose]: drop };
    },
  }));
}

/** MySQL in every mode. */
export async function mysqlArenas(): Promise<Arena[]> {
  return mysqlModes("mysql", await startMysql());
}

/** MariaDB in every mode. */
export async function mariadbArenas(): Promise<Arena[]> {
  return mysqlModes("mariadb", await startMariadb());
}
