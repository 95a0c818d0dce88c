/**
 * A private PgBouncer in front of a PostgreSQL for tests.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { commandIn, unpack } from "./debian.ts";
import { asOrdinaryUser, findProgram, freePort, privateDirectory, type Watcher, whenOrphaned } from "./tools.ts";

/** PgBouncer's libraries; its package alone would bring a whole PostgreSQL. */
const LIBRARIES = ["libc6", "libc-ares2", "libevent-2.1-7", "libssl3", "libpam0g", "libsystemd0"];

/** How PgBouncer is started: the one that is installed, else Debian's, unpacked into the cache of the tests. */
async function findPgBouncer(): Promise<[command: string, ...first: string[]]> {
  const installed = findProgram("pgbouncer");
  if (installed !== undefined) return [installed];
  const prefix = await unpack({ suite: "bookworm", packages: LIBRARIES, alone: ["pgbouncer"] });
  return await commandIn(prefix, "usr/sbin/pgbouncer");
}

/** How a pooler for tests is set up. */
export interface PgBouncerOptions {
  /** When a server connection goes back to the pool. @default "transaction" */
  mode?: "session" | "transaction" | "statement";
  /** How many server connections it keeps. @default 4 */
  poolSize?: number;
}

/** A running PgBouncer. */
export class PgBouncer implements AsyncDisposable {
  /** The TCP port on 127.0.0.1. */
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #directory: string;
  readonly #watcher: Watcher;

  private constructor(port: number, child: ChildProcess, directory: string) {
    this.port = port;
    this.#child = child;
    this.#directory = directory;
    this.#watcher = whenOrphaned(`kill -KILL ${child.pid}; rm -rf '${directory}'`);
  }

  /** Starts one in front of the server on `serverPort` of 127.0.0.1. */
  static async start(serverPort: number, options: PgBouncerOptions = {}): Promise<PgBouncer> {
    const [program, ...first] = await findPgBouncer();
    const directory = privateDirectory("pgbouncer");
    const port = await freePort();
    const file = join(directory, "pgbouncer.ini");
    writeFileSync(join(directory, "users"), '"postgres" ""\n'); // whom it lets in, without a password
    writeFileSync(file, configuration(serverPort, port, directory, options));
    const [command, parameters] = asOrdinaryUser(program, [...first, file]);
    const child = spawn(command, parameters, { stdio: "ignore" });
    child.unref();
    const pooler = new PgBouncer(port, child, directory);
    await pooler.#listening();
    return pooler;
  }

  /** The address of database `postgres` through the pooler. */
  get url(): string {
    return this.urlOf("postgres");
  }

  /** The address of a database through the pooler. */
  urlOf(database: string, role = "postgres"): string {
    return `postgres://${role}@127.0.0.1:${this.port}/${database}`;
  }

  /** Stops it. */
  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    if (this.#child.exitCode === null) {
      this.#child.ref();
      this.#child.kill("SIGKILL");
      await ended;
    }
    await this.#watcher.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Stops it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Waits until it takes connections. */
  async #listening(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      if (this.#child.exitCode !== null) throw new Error(`PgBouncer ended with exit ${this.#child.exitCode}`);
      const open = await new Promise<boolean>((resolve) => {
        const socket = connect(this.port, "127.0.0.1", () => (socket.destroy(), resolve(true)));
        socket.once("error", () => resolve(false));
      });
      if (open) return;
      await delay(25);
    }
    throw new Error("PgBouncer takes no connections");
  }
}

function configuration(serverPort: number, port: number, directory: string, options: PgBouncerOptions): string {
  return `
[databases]
* = host=127.0.0.1 port=${serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${directory}/users
pool_mode = ${options.mode ?? "transaction"}
default_pool_size = ${options.poolSize ?? 4}
max_client_conn = 500
pidfile = ${directory}/pid
logfile = ${directory}/log
`;
}
