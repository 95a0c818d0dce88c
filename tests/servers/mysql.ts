/**
 * A private MySQL of the newest release line that Debian has, for tests.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cached, commandIn, unpack } from "./debian.ts";
import { asThisUser, FIRST_SQL, MysqlServer, type MysqlServerOptions, type Program } from "./mysql_server.ts";

const run = promisify(execFile);

/** Unpacks MySQL and prepares a data directory, once. */
async function program(): Promise<Program> {
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
  const template = await cached("mysql-data", async (directory) => {
    const first = join(directory, "first.sql");
    await writeFile(first, FIRST_SQL);
    const [loader, ...parameters] = [...command, ...asThisUser(), `--datadir=${join(directory, "data")}`];
    await run(loader, [...parameters, "--initialize-insecure", `--init-file=${first}`]);
  });
  return { command, template: join(template, "data") };
}

/** Starts a MySQL. */
export async function startMysql(options?: MysqlServerOptions): Promise<MysqlServer> {
  return await MysqlServer.start(await program(), options);
}
