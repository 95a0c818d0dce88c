/**
 * What a run was made on: enough to judge its figures, nothing that names the machine.
 *
 * @module
 */
import { createConnection } from "mysql2/promise";
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, release, totalmem, type } from "node:os";
import postgres from "postgres";
import { openDatabase } from "../backends/sqlite/connection/driver.ts";
import { programOf, versionOf } from "../tests/runtimes/installing.ts";
import { runtimes } from "../tests/runtimes/runtimes.ts";
import { labels, type Places } from "./places.ts";
import type { Machine } from "./report.ts";

async function mysqlVersion(url: string): Promise<string> {
  const connection = await createConnection(url);
  const [rows] = await connection.query("SELECT VERSION() AS version");
  await connection.end();
  return (rows as { version: string }[])[0].version.replace(/-log$/, "");
}

async function postgresVersion(url: string): Promise<string> {
  const sql = postgres(url, { max: 1 });
  const [{ version }] = await sql`SELECT split_part(current_setting('server_version'), ' ', 1) AS version`;
  await sql.end();
  return version;
}

async function redisVersion(url: string): Promise<string> {
  const { openRedisFloor } = await import("./rivals.ts");
  await using floor = openRedisFloor(url);
  const version = /redis_version:(\S+)/.exec(await floor.info())![1];
  return `${version}, without persistence`;
}

/** The versions of the npm packages that take part, as the lock file has them. */
async function packages(): Promise<string> {
  const { specifiers } = JSON.parse(await readFile("deno.lock", "utf8")) as { specifiers: Record<string, string> };
  const drivers = ["postgres", "mysql2", "ioredis", "pg", "kysely"];
  const rivals = ["redlock", "redis-semaphore", "@verrou/core", "proper-lockfile", "advisory-lock"];
  return [...drivers, ...rivals].map((name) => {
    const key = Object.keys(specifiers).find((specifier) => specifier.startsWith(`npm:${name}@`));
    return `${name} ${key ? specifiers[key].replace(/_.*/, "") : "?"}`;
  }).join(", ");
}

async function others(): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const runtime of runtimes.filter(({ name }) => ["Node 24", "Bun"].includes(name))) {
    found[runtime.name.split(" ")[0]] = await versionOf(await programOf(runtime));
  }
  return found;
}

/** Describes the machine and what runs on it. */
export async function machineOf(places: Places, alone: boolean): Promise<Machine> {
  const database = await openDatabase(":memory:", "node:sqlite");
  const { version } = database.prepare("SELECT sqlite_version() AS version").get() as { version: string };
  database.close();
  return {
    processor: `${availableParallelism()} cores, ${cpus()[0]?.model ?? "unknown"}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    system: `${type()} ${release().split("-")[0]}`,
    date: new Date().toISOString().slice(0, 10),
    Deno: Deno.version.deno,
    ...alone ? {} : await others(),
    ...places.postgres && { [labels.postgres]: await postgresVersion(places.postgres) },
    ...places.mysql && { [labels.mysql]: `${await mysqlVersion(places.mysql)}, with a binary log` },
    ...places.mariadb && { [labels.mariadb]: `${await mysqlVersion(places.mariadb)}, with a binary log` },
    [labels.sqlite]: `${version}, write-ahead log, synchronous FULL`,
    ...places.redis && { Redis: await redisVersion(places.redis) },
    packages: await packages(),
  };
}
