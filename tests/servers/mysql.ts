/**
 * A private MySQL of the newest release line that Debian has, for tests.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached } from "../cache/cache.ts";
import { commandIn, unpack } from "./debian.ts";
import { asThisUser, FIRST_SQL, MysqlServer, type MysqlServerOptions, type Program } from "./mysql_server.ts";

const run = promisify(execFile);

/** Decides, once and for all, how a data directory keeps the names of tables. */
const LOWER_CASE = "--lower-case-table-names=1";

/** Unpacks MySQL and prepares a data directory, once; `lowerCase` is for names of tables without case. */
async function program(lowerCase: boolean): Promise<Program> {
  const prefix = await unpack({ suite: "sid", packages: ["mysql-server-core"] });
  const command = [
    ...await commandIn(prefix, "usr/sbin/mysqld"),
    "--no-defaults",
    `--basedir=${join(prefix, "usr")}`,
    `--lc-messages-dir=${join(prefix, "usr/share/mysql")}`,
    `--plugin-dir=${join(prefix, "usr/lib/mysql/plugin")}`,
    "--secure-file-priv=NULL",
    "--mysqlx=OFF",
    "--innodb-redo-log-capacity=32M",
  ];
  const first = lowerCase ? [LOWER_CASE] : [];
  const template = await cached(lowerCase ? "mysql-data-lower-case" : "mysql-data", async (directory) => {
    const script = join(directory, "first.sql");
    await writeFile(script, FIRST_SQL);
    const [loader, ...parameters] = [...command, ...first, ...asThisUser(), `--datadir=${join(directory, "data")}`];
    await run(loader, [...parameters, "--initialize-insecure", `--init-file=${script}`]);
  });
  return { command, template: join(template, "data") };
}

/** Starts a MySQL. */
export async function startMysql(options?: MysqlServerOptions): Promise<MysqlServer> {
  return await MysqlServer.start(await program(options?.settings?.includes(LOWER_CASE) ?? false), options);
}
