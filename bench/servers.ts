/**
 * Private servers to measure on: durable as in production, in their own directories, gone afterwards.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { commandIn, unpack } from "../tests/servers/debian.ts";
import { startMariadb } from "../tests/servers/mariadb.ts";
import { startMysql } from "../tests/servers/mysql.ts";

import { PostgresServer } from "../tests/servers/postgres.ts";
import { freePort, whenOrphaned } from "../tests/servers/tools.ts";
import type { Engine, Places } from "./places.ts";

/** Each commit reaches the disk; memory for a million rows, and a log that is not written round all the time. */
const MYSQL_SETTINGS = [
  "--innodb-flush-method=O_DIRECT",
  "--sync-binlog=1",
  "--innodb-buffer-pool-size=512M",
  "--log-bin",
  "--server-id=1",
  "--max-connections=500",
];
const POSTGRES_SETTINGS = {
  fsync: "on",
  synchronous_commit: "on",
  shared_buffers: "512MB",
  max_wal_size: "4GB",
  max_locks_per_transaction: "128",
  max_connections: "500",
};
const MARIADB_LOG = "--innodb-log-file-size=512M";
const MYSQL_LOG = "--innodb-redo-log-capacity=512M";

/** What runs, and where. */
export interface Environment extends AsyncDisposable {
  readonly places: Places;
}

/** A Redis without persistence, which flatters it: nothing that it grants outlives it. */
async function startRedis(): Promise<{ url: string } & AsyncDisposable> {
  const prefix = await unpack({ suite: "bookworm", packages: ["redis-tools"], alone: ["redis-server"] });
  const port = await freePort();
  const [command, ...first] = await commandIn(prefix, "usr/bin/redis-server");
  const settings = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
  const child = spawn(command, [...first, ...settings], { stdio: ["ignore", "pipe", "ignore"], cwd: tmpdir() });
  const watcher = whenOrphaned(`kill -KILL ${child.pid}`);
  await new Promise<void>((resolve, reject) => {
    child.stdout!.on("data", (text) => String(text).includes("Ready to accept connections") && resolve());
    child.once("exit", (code) => reject(new Error(`Cannot start Redis: it ended with ${code}`)));
  });
  return {
    url: `redis://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      const ended = once(child, "exit");
      child.kill("SIGKILL");
      await ended;
      await watcher.stop();
    },
  };
}

/** Starts what the chosen engines need, and Redis where there are servers at all. */
export async function startEnvironment(chosen: readonly Engine[]): Promise<Environment> {
  const stack = new AsyncDisposableStack();
  try {
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-bench-"));
    stack.defer(() => rm(directory, { recursive: true }));
    const places: { -readonly [Key in keyof Places]: Places[Key] } = { directory };
    if (chosen.includes("sqlite")) places.sqlite = join(directory, "locks.db");
    if (chosen.includes("postgres")) {
      places.postgres = stack.use(await PostgresServer.start({ settings: POSTGRES_SETTINGS })).url;
    }
    if (chosen.includes("mysql")) {
      places.mysql = stack.use(await startMysql({ settings: [...MYSQL_SETTINGS, MYSQL_LOG] })).url;
    }
    if (chosen.includes("mariadb")) {
      places.mariadb = stack.use(await startMariadb({ settings: [...MYSQL_SETTINGS, MARIADB_LOG] })).url;
    }
    if (chosen.some((engine) => engine !== "sqlite")) places.redis = stack.use(await startRedis()).url;
    return { places, [Symbol.asyncDispose]: () => stack.disposeAsync() };
  } catch (error) {
    await stack.disposeAsync();
    throw error;
  }
}
