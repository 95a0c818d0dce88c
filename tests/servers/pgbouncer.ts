/**
 * A private PgBouncer in front of a PostgreSQL for tests.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { commandIn, unpack } from "./debian.ts";
import { ProxyProcess } from "./proxy_process.ts";
import { findProgram } from "./tools.ts";

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
  /** Whether it takes the server connections in turns, and not the last one used. @default false */
  inTurns?: boolean;
}

/** A running PgBouncer. */
export class PgBouncer implements AsyncDisposable {
  readonly #process: ProxyProcess;

  private constructor(process: ProxyProcess) {
    this.#process = process;
  }

  /** Starts one in front of the server on `serverPort` of 127.0.0.1. */
  static async start(serverPort: number, options: PgBouncerOptions = {}): Promise<PgBouncer> {
    const process = await ProxyProcess.start({
      name: "PgBouncer",
      command: await findPgBouncer(),
      configure(port, directory) {
        const file = join(directory, "pgbouncer.ini");
        writeFileSync(join(directory, "users"), '"postgres" ""\n'); // whom it lets in, without a password
        writeFileSync(file, configuration(serverPort, port, directory, options));
        return [file];
      },
    });
    return new PgBouncer(process);
  }

  /** The TCP port on 127.0.0.1. */
  get port(): number {
    return this.#process.port;
  }

  /** The address of database `postgres` through the pooler. */
  get url(): string {
    return this.urlOf("postgres");
  }

  /** The address of a database through the pooler; `pgbouncer` takes its commands, such as `PAUSE`. */
  urlOf(database: string, role = "postgres"): string {
    return `postgres://${role}@127.0.0.1:${this.port}/${database}`;
  }

  /** Kills it and starts it again: all connections through it are cut. */
  async restart(): Promise<void> {
    await this.#process.kill();
    await this.#process.run();
  }

  /** Stops it. */
  async stop(): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  /** Stops it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
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
admin_users = postgres
pool_mode = ${options.mode ?? "transaction"}
default_pool_size = ${options.poolSize ?? 4}
server_round_robin = ${options.inTurns ? 1 : 0}
max_client_conn = 500
pidfile = ${directory}/pid
logfile = ${directory}/log
`;
}
