/**
 * Galera clusters for tests, of MariaDB servers on this machine.
 *
 * @module
 */
import { cp } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { unpack } from "./debian.ts";
import { startMariadb } from "./mariadb.ts";
import { ask } from "./mysql_database.ts";
import type { MysqlServer } from "./mysql_server.ts";
import { freePort } from "./tools.ts";

async function settingsOf(port: number, others: readonly number[], further: readonly string[]): Promise<string[]> {
  const prefix = await unpack({ suite: "bookworm", packages: ["galera-4"] });
  const provider =
    `base_port=${port};gmcast.listen_addr=tcp://127.0.0.1:${port};ist.recv_addr=127.0.0.1:${await freePort()}`;
  return [
    "--wsrep-on=ON",
    `--wsrep-provider=${join(prefix, "usr/lib/galera/libgalera_smm.so")}`,
    `--wsrep-cluster-address=${addressOf(others)}`,
    `--wsrep-node-address=127.0.0.1:${port}`,
    `--wsrep-provider-options=${provider};gcache.size=16M`,
    "--binlog-format=ROW",
    "--innodb-autoinc-lock-mode=2",
    ...further,
  ];
}

/** Starts a MariaDB that is the first node of a Galera cluster. */
export async function startGalera(): Promise<MysqlServer> {
  return await startMariadb({ settings: await settingsOf(await freePort(), [], []) });
}

const addressOf = (ports: readonly number[]) => `gcomm://${ports.map((port) => `127.0.0.1:${port}`).join(",")}`;

/** The state of a node, as it says; empty while it takes no questions. */
async function stateOf({ url }: MysqlServer): Promise<Record<string, string>> {
  const rows = await ask(url, "SHOW STATUS LIKE 'wsrep%'").catch(() => []);
  return Object.fromEntries(rows.map(({ Variable_name, Value }) => [Variable_name, Value]));
}

/** Waits until a node belongs to a cluster of this size. */
export async function isSynced(node: MysqlServer, size: number): Promise<void> {
  for (let looks = 0; looks < 600; looks++) {
    const state = await stateOf(node);
    if (state.wsrep_ready === "ON" && Number(state.wsrep_cluster_size) === size) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`The node is not one of ${size}: ${JSON.stringify(await stateOf(node))}`);
}

/** A Galera cluster. */
export interface GaleraCluster extends AsyncDisposable {
  readonly nodes: readonly MysqlServer[];
  /** Starts a node that was killed, as Debian's `galera_recovery` does: it joins the others from where it had come to. */
  revive(index: number): Promise<void>;
}

/**
 * Starts a cluster of three nodes, from the same data: each further one is sent only what was changed meanwhile.
 *
 * @param further Further parameters of each server.
 */
export async function startGaleraCluster(further: readonly string[] = []): Promise<GaleraCluster> {
  process.env.PATH = `${dirname(fileURLToPath(import.meta.url))}:${process.env.PATH}`; // the servers run the state transfer
  const ports = [await freePort(), await freePort(), await freePort()];
  const nodes: MysqlServer[] = [];
  const cluster: GaleraCluster = {
    nodes,
    async revive(index) {
      const written = await nodes[index].output("--wsrep-recover");
      const [, position] = /Recovered position: *(\S+)/.exec(written) ?? [];
      await nodes[index].start(`--wsrep-cluster-address=${addressOf(ports)}`, `--wsrep-start-position=${position}`);
    },
    [Symbol.asyncDispose]: async () => void await Promise.all(nodes.map((node) => node.stop())),
  };
  try {
    const all = ["--wsrep-sst-method=handoff", ...further];
    nodes.push(await startMariadb({ settings: await settingsOf(ports[0], [], all) }));
    await isSynced(nodes[0], 1);
    await nodes[0].halt(); // it writes down which state of the cluster its data is
    const data = join(nodes[0].directory, "first");
    await cp(join(nodes[0].directory, "data"), data, { recursive: true });
    await nodes[0].start();
    for (const port of ports.slice(1)) {
      const settings = await settingsOf(port, ports, all);
      nodes.push(await startMariadb({ settings, data }));
      await isSynced(nodes.at(-1)!, nodes.length);
    }
    return cluster;
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
}
