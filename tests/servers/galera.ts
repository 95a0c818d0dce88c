/**
 * A Galera cluster of one node, for tests.
 *
 * @module
 */
import { join } from "node:path";
import { unpack } from "./debian.ts";
import { startMariadb } from "./mariadb.ts";
import type { MysqlServer } from "./mysql_server.ts";
import { freePort } from "./tools.ts";

/** Starts a MariaDB that is the first node of a Galera cluster. */
export async function startGalera(): Promise<MysqlServer> {
  const prefix = await unpack({ suite: "bookworm", packages: ["galera-4"] });
  const settings = [
    "--wsrep-on=ON",
    `--wsrep-provider=${join(prefix, "usr/lib/galera/libgalera_smm.so")}`,
    "--wsrep-cluster-address=gcomm://",
    "--wsrep-node-address=127.0.0.1",
    `--wsrep-provider-options=base_port=${await freePort()}`,
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
  ];
  return await startMariadb({ settings });
}
