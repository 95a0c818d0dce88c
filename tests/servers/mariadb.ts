/**
 * A private MariaDB for tests: the release of Debian 12 (10.11), or the newest that Debian has.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { cached } from "../cache/cache.ts";
import { commandIn, unpack } from "./debian.ts";
import { asThisUser, FIRST_SQL, MysqlServer, type MysqlServerOptions, type Program } from "./mysql_server.ts";

/** Which MariaDB. */
export interface MariadbServerOptions extends MysqlServerOptions {
  /** The release of Debian it comes from. @default LOCKMGR_TEST_MARIADB, or "bookworm" */
  suite?: "bookworm" | "sid";
}

/** What a fresh data directory is filled with, in this order; the releases begin the names differently. */
const SYSTEM_SQL = [
  /^\w+_system_tables\.sql$/,
  /^\w+_performance_tables\.sql$/,
  /^\w+_system_tables_data\.sql$/,
  /^maria_add_gis_sp_bootstrap\.sql$/,
  /^\w+_sys_schema\.sql$/,
];

/** Unpacks MariaDB and prepares a data directory, once. */
async function program(suite: string): Promise<Program> {
  const prefix = await unpack({ suite, packages: ["mariadb-server-core"], alone: ["mariadb-server"] });
  const ofRelease = (directory: string) => {
    return ["mariadb", "mysql"].map((name) => join(prefix, directory, name)).find((path) => existsSync(path))!;
  };
  const share = ofRelease("usr/share");
  const command = [
    ...await commandIn(prefix, "usr/sbin/mariadbd"),
    "--no-defaults",
    `--basedir=${join(prefix, "usr")}`,
    `--lc-messages-dir=${share}`,
    `--plugin-dir=${join(ofRelease("usr/lib"), "plugin")}`,
    "--innodb-log-file-size=32M",
  ];
  const template = await cached(`mariadb-data-${suite}`, async (directory) => {
    const data = join(directory, "data");
    await mkdir(data);
    const names = await readdir(share);
    const files = SYSTEM_SQL.flatMap((wanted) => names.filter((name) => wanted.test(name)));
    const texts = await Promise.all(files.map((file) => readFile(join(share, file), "utf8")));
    const sql = ["CREATE DATABASE mysql;", "USE mysql;", ...texts, "FLUSH PRIVILEGES;", FIRST_SQL, ""].join("\n");
    await bootstrap([...command, ...asThisUser(), `--datadir=${data}`, `--tmpdir=${directory}`, "--bootstrap"], sql);
  });
  return { command, template: join(template, "data") };
}

/** Runs the server once with SQL as its input. */
function bootstrap([command, ...parameters]: string[], sql: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, parameters, { stdio: ["pipe", "ignore", "pipe"] });
    let written = "";
    child.stderr.on("data", (chunk) => written += chunk);
    child.once("error", reject);
    child.once("exit", (code) => code === 0 ? resolve() : reject(new Error(`Cannot set MariaDB up: ${written}`)));
    child.stdin.end(sql);
  });
}

/** `LOCKMGR_TEST_MARIADB=sid` has every test run on the newest release line instead. */
function defaultSuite(): "bookworm" | "sid" {
  const wanted = process.env.LOCKMGR_TEST_MARIADB ?? "bookworm";
  if (wanted !== "bookworm" && wanted !== "sid") {
    throw new Error(`LOCKMGR_TEST_MARIADB=${wanted}: want sid or bookworm`);
  }
  return wanted;
}

/** Starts a MariaDB. */
export async function startMariadb(
  { suite = defaultSuite(), ...options }: MariadbServerOptions = {},
): Promise<MysqlServer> {
  return await MysqlServer.start(await program(suite), options);
}
