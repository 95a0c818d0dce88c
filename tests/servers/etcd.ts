/**
 * A private etcd cluster of three nodes for tests.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { commandIn, unpack } from "./debian.ts";
import { asOrdinaryUser, findProgram, freePort, privateDirectory, type Watcher, whenOrphaned } from "./tools.ts";

/** Short times, so that a leader is replaced within a second and leases of one second exist. A killed node loses nothing without `fsync`. */
const SETTINGS = [
  "--heartbeat-interval=50",
  "--election-timeout=500",
  "--log-level=error",
  "--logger=zap",
  "--unsafe-no-fsync",
];
const NODES = 3;

/** How a program of etcd is started: the one that is installed, else Debian's, unpacked into the cache of the tests. */
export async function etcdProgram(name: "etcd" | "etcdctl"): Promise<[command: string, ...first: string[]]> {
  const installed = findProgram(name);
  if (installed !== undefined) return [installed];
  const prefix = await unpack({ suite: "bookworm", packages: ["libc6"], alone: ["etcd-server", "etcd-client"] });
  return await commandIn(prefix, `usr/bin/${name}`);
}

/** One node. */
interface Node {
  readonly name: string;
  readonly port: number;
  readonly peerPort: number;
  child?: ChildProcess;
  /** Kills it when this process is gone. */
  watcher?: Watcher;
}

/** A running cluster. */
export class EtcdCluster implements AsyncDisposable {
  readonly #nodes: readonly Node[];
  readonly #directory = privateDirectory("etcd");

  private constructor(nodes: readonly Node[]) {
    this.#nodes = nodes;
  }

  /** Starts three nodes, and waits until they have a leader. */
  static async start(): Promise<EtcdCluster> {
    const nodes: Node[] = [];
    for (let index = 0; index < NODES; index++) {
      nodes.push({ name: `node-${index}`, port: await freePort(), peerPort: await freePort() });
    }
    const cluster = new EtcdCluster(nodes);
    for (let index = 0; index < NODES; index++) await cluster.#spawn(index, "new");
    await cluster.ready();
    return cluster;
  }

  /** The address of all nodes for `connect`. */
  get url(): string {
    return `etcd://${this.endpoints.join(",")}`;
  }

  /** The nodes as `host:port`. */
  get endpoints(): string[] {
    return this.ports.map((port) => `127.0.0.1:${port}`);
  }

  /** The ports of the nodes. */
  get ports(): number[] {
    return this.#nodes.map(({ port }) => port);
  }

  /** How many nodes there are. */
  get size(): number {
    return NODES;
  }

  /** Kills a node at once, as in a crash. */
  async kill(index: number): Promise<void> {
    const { child, watcher } = this.#nodes[index] as Required<Node>;
    child.ref();
    const ended = once(child, "exit");
    process.kill(child.pid!, "SIGKILL");
    await ended;
    await watcher.stop();
  }

  /** Starts a node again, with what it has kept. */
  restart(index: number): Promise<void> {
    return this.#spawn(index, "existing");
  }

  /** Stops a node: until `resume` it neither hears nor answers, and does not know it. */
  freeze(index: number): void {
    process.kill(this.#nodes[index].child!.pid!, "SIGSTOP");
  }

  /** Ends `freeze`. */
  resume(index: number): void {
    process.kill(this.#nodes[index].child!.pid!, "SIGCONT");
  }

  /** Waits until every node answers a read that needs a leader. */
  async ready(): Promise<void> {
    for (const endpoint of this.endpoints) {
      for (let tries = 0; !await answers(endpoint); tries++) {
        if (tries === 1_200) throw new Error(`etcd on ${endpoint} does not answer`);
        await delay(50);
      }
    }
  }

  async #spawn(index: number, state: "new" | "existing"): Promise<void> {
    const node = this.#nodes[index];
    const [program, ...first] = await etcdProgram("etcd");
    const address = (port: number) => `http://127.0.0.1:${port}`;
    const [command, parameters] = asOrdinaryUser(program, [
      ...first,
      ...SETTINGS,
      `--name=${node.name}`,
      `--data-dir=${join(this.#directory, node.name)}`,
      `--listen-client-urls=${address(node.port)}`,
      `--advertise-client-urls=${address(node.port)}`,
      `--listen-peer-urls=${address(node.peerPort)}`,
      `--initial-advertise-peer-urls=${address(node.peerPort)}`,
      `--initial-cluster=${this.#nodes.map(({ name, peerPort }) => `${name}=${address(peerPort)}`).join(",")}`,
      `--initial-cluster-state=${state}`,
    ]);
    node.child = spawn(command, parameters, { stdio: "ignore", cwd: this.#directory });
    node.child.unref();
    node.watcher = whenOrphaned(`kill -KILL ${node.child.pid}; rm -rf '${this.#directory}'`);
  }

  /** Kills all nodes and removes their files. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const [index, { child }] of this.#nodes.entries()) {
      if (child!.exitCode === null && child!.signalCode === null) await this.kill(index);
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    const body = JSON.stringify({ key: "AA==" });
    const response = await fetch(`http://${endpoint}/v3/kv/range`, { method: "POST", body });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}
