/**
 * Where faults are tried: every engine and mode, with what can be done to its database.
 *
 * @module
 */
import type { ConnectOptions, Mode } from "@lockmgr/lockmgr";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Tolerance } from "../history/checker.ts";
import type { Proxy } from "./proxy.ts";
import { smallDisk } from "./small_disk.ts";

/** A server that the tests may treat badly. */
export interface Server {
  /** Its TCP port on 127.0.0.1: a proxy may stand in front of it. */
  readonly port: number;
  /** The address of the database for those who come through another port. */
  targetAt(port: number): string;
  /** Lets it die at once, as in a crash. */
  kill(): Promise<void>;
  /** Starts it again, with what it has kept. */
  start(): Promise<void>;
  /** Ends every connection to the trial's database, from the server's side. */
  cut(): Promise<void>;
  /** Sends everybody away who uses the trial's database, and takes every connection that there is. */
  exhaust(): Promise<AsyncDisposable>;
  /** Holds up statements that write, or their commits, until it is disposed of. */
  obstruct(): Promise<AsyncDisposable>;
  /** How many connections to the trial's database there are, as the server has it. */
  connections(): Promise<number>;
}

/** A disk that the tests may fill. */
export interface Disk {
  fill(): Promise<void>;
  free(): Promise<void>;
}

/** The nodes of a cluster that keeps its locks while one of them is away, by number. */
export interface Nodes {
  readonly size: number;
  /** Kills a node, as in a crash. */
  kill(node: number): Promise<void>;
  /** Starts it again, and waits until all nodes work. */
  restart(node: number): Promise<void>;
  /** Stops a node, which neither hears nor answers until it is resumed. */
  freeze(node: number): void;
  resume(node: number): void;
  /** What stands between the clients and a node. */
  proxyOf(node: number): Proxy;
}

/** A database of one trial's own. */
export interface Fixture extends AsyncDisposable {
  readonly target: string;
  readonly options: ConnectOptions;
  readonly server?: Server;
  readonly disk?: Disk;
  readonly nodes?: Nodes;
}

/** One engine in one mode. */
export interface Environment {
  /** The folder in `backends/`. */
  readonly engine: string;
  readonly name: string;
  readonly mode: Mode;
  /** Whether it has a server, which can be killed and whose connections can be cut. */
  readonly served: boolean;
  /** The shortest lease that it keeps (s). @default 0.2 */
  readonly shortestLease?: number;
  /** What the checker allows for, beside the defaults. */
  readonly tolerance?: Tolerance;
  /** Makes a fresh fixture; `small` on a disk that can be filled, if it may be had. */
  open(small?: boolean): Promise<Fixture>;
}

const sqlite: Environment = {
  engine: "sqlite",
  name: "sqlite lease",
  mode: "lease",
  served: false,
  tolerance: { blocking: true }, // one client writes at a time
  async open(small = false) {
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
    const disk = small ? await smallDisk(directory) : undefined;
    return {
      target: `sqlite:${join(directory, "locks.db")}`,
      options: {},
      disk,
      async [Symbol.asyncDispose]() {
        await disk?.[Symbol.asyncDispose]();
        await rm(directory, { recursive: true });
      },
    };
  },
};

/** Each engine in `backends/`: starts its server. */
export const engines: Readonly<Record<string, () => Promise<Environment[]>>> = {
  sqlite: () => Promise.resolve([sqlite]),
  postgres: async () => await (await import("./server_environments.ts")).postgresEnvironments(),
  mysql: async () => await (await import("./server_environments.ts")).mysqlEnvironments(),
  mariadb: async () => await (await import("./server_environments.ts")).mariadbEnvironments(),
};

/** The same for the backends in `examples/`. */
export const examples: typeof engines = {
  async etcd() {
    const { EtcdCluster } = await import("../servers/etcd.ts");
    return [(await import("./etcd_environment.ts")).etcdEnvironment(await EtcdCluster.start())];
  },
};
