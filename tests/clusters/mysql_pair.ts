/**
 * A MySQL or MariaDB primary with a replica, which can be promoted while the old primary goes on, hangs or is gone.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { type Flavor, until } from "../mysql/flavors.ts";
import { ask } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import type { Failure } from "./failures.ts";

/** The words of the two products. */
const WORDS = {
  mysql: {
    settings: ["--gtid-mode=ON", "--enforce-gtid-consistency=ON"],
    plugins: ["--plugin-load-add=semisync_source.so;semisync_replica.so"],
    source: "rpl_semi_sync_source",
    replica: "rpl_semi_sync_replica",
    clients: "Rpl_semi_sync_source_clients",
    follow: (port: number) =>
      `CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = ${port}, SOURCE_USER = 'tester',
        SOURCE_PASSWORD = 'secret-word', SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1`,
  },
  mariadb: {
    settings: [],
    plugins: [],
    source: "rpl_semi_sync_master",
    replica: "rpl_semi_sync_slave",
    clients: "Rpl_semi_sync_master_clients",
    follow: (port: number) =>
      `CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = ${port}, MASTER_USER = 'tester',
        MASTER_PASSWORD = 'secret-word', MASTER_USE_GTID = slave_pos`,
  },
};

/** A primary and its replica. */
export class MysqlPair implements AsyncDisposable {
  /** The server that takes writes. */
  readonly primary: MysqlServer;
  /** The server that follows it. */
  readonly replica: MysqlServer;
  readonly #flavor: Flavor;
  #stopped = false;

  private constructor(flavor: Flavor, primary: MysqlServer, replica: MysqlServer) {
    this.#flavor = flavor;
    this.primary = primary;
    this.replica = replica;
  }

  /** Starts both; every commit waits for the replica if it is `synchronous`. */
  static async start(flavor: Flavor, synchronous = true): Promise<MysqlPair> {
    const { settings, plugins, source, replica, clients, follow } = WORDS[flavor.name];
    const all = ["--log-bin", "--binlog-format=ROW", ...settings, ...synchronous ? plugins : []];
    const [first, second] = await Promise.all(
      [1, 2].map((id) => flavor.start({ settings: [...all, `--server-id=${id}`] })),
    );
    const pair = new MysqlPair(flavor, first, second);
    if (flavor.name === "mysql") { // both began with the same data, and with it the same identity
      await second.halt();
      await rm(join(second.directory, "data", "auto.cnf"));
      await second.start();
    }
    if (synchronous) {
      await ask(first.url, `SET GLOBAL ${source}_timeout = 1000000`, `SET GLOBAL ${source}_enabled = ON`);
      await ask(second.url, `SET GLOBAL ${replica}_enabled = ON`);
    }
    await ask(second.url, follow(first.port), "START REPLICA", "SET GLOBAL read_only = ON");
    if (synchronous) {
      await until("the replica follows", async () => {
        const [row] = await ask(first.url, `SHOW STATUS LIKE '${clients}'`);
        return Number(row.Value) === 1;
      });
    }
    return pair;
  }

  /** Fails the primary and promotes the replica. */
  async promote(failure: Failure): Promise<void> {
    if (failure === "crash") await this.primary.kill();
    if (failure === "hang") {
      process.kill(this.primary.pid, "SIGSTOP");
      this.#stopped = true;
    }
    await ask(this.replica.url, "STOP REPLICA IO_THREAD");
    await until("the replica has applied what it was sent", async () => {
      return /read all relay log/.test(JSON.stringify(await ask(this.replica.url, "SHOW REPLICA STATUS")));
    });
    await ask(this.replica.url, "STOP REPLICA", "SET GLOBAL read_only = OFF");
  }

  /** Removes both. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stopped) process.kill(this.primary.pid, "SIGCONT");
    await Promise.all([this.primary.stop(), this.replica.stop()]);
  }
}
