/**
 * What private servers of MySQL and MariaDB have in common: a data directory and a port of their own, gone afterwards.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { freePort, type Watcher, whenOrphaned } from "./tools.ts";

/** The database that is there from the start. */
const DATABASE = "test";
/** Who may do everything. */
const USER = "tester";
/** That user's password. */
const PASSWORD = "secret-word";

/** The SQL that a fresh data directory is set up with. */
export const FIRST_SQL = [
  `CREATE DATABASE ${DATABASE};`,
  `CREATE USER '${USER}'@'%' IDENTIFIED BY '${PASSWORD}';`,
  `GRANT ALL PRIVILEGES ON *.* TO '${USER}'@'%' WITH GRANT OPTION;`,
].join("\n");

/** What runs a server. */
export interface Program {
  /** The command with its first parameters. */
  readonly command: readonly string[];
  /** A data directory to begin with, set up by {@linkcode FIRST_SQL}. */
  readonly template: string;
}

/** How a server for tests is set up. */
export interface MysqlServerOptions {
  /** Further parameters of the server, such as `"--wait-timeout=2"`. */
  settings?: readonly string[];
  /** The data to begin with: a copy of that of another server, which is not running. */
  data?: string;
}

/**
 * Small buffers, quick to start. Nothing is forced to the disk: what a killed server had written is there when it comes
 * back, and a test whose lease lasts half a second need not wait for a disk that all suites share. No asynchronous I/O of
 * the kernel's: each server reserves 2,300 of the machine's 65,536 slots, and two whole test runs start forty servers.
 */
const SETTINGS = [
  "--innodb-buffer-pool-size=32M",
  "--max-connections=300",
  "--innodb-flush-log-at-trx-commit=1",
  "--innodb-flush-method=nosync",
  "--innodb-use-native-aio=0",
  "--sync-binlog=0",
  "--bind-address=127.0.0.1",
];
/** How long a server may take to be ready (ms): it took 60 s on a machine of a tenth of the usual speed. */
const START_TIMEOUT_MS = 180_000;

/** What makes a server run as this very user, also when that is root. */
export function asThisUser(): string[] {
  return process.getuid?.() === 0 ? ["--user=root"] : [];
}

/** A running MySQL or MariaDB. */
export class MysqlServer implements AsyncDisposable {
  /** The TCP port on 127.0.0.1, the same after a restart. */
  readonly port: number;
  /** Where its data is. */
  readonly directory: string;
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;
  #watcher: Watcher | undefined;

  private constructor(command: readonly string[], directory: string, port: number) {
    this.#command = command;
    this.directory = directory;
    this.port = port;
  }

  /** Copies the template and starts a server on it. */
  static async start(program: Program, options: MysqlServerOptions = {}): Promise<MysqlServer> {
    for (let attempt = 1;; attempt++) {
      const directory = await mkdtemp(join(tmpdir(), "lockmgr-mysql-"));
      await mkdir(join(directory, "tmp"));
      await cp(options.data ?? program.template, join(directory, "data"), { recursive: true });
      const command = [...program.command, ...SETTINGS, ...options.settings ?? []];
      const server = new MysqlServer(command, directory, await freePort());
      try {
        await server.start();
        return server;
      } catch (error) {
        await server.stop();
        if (attempt === 3 || !/port/i.test(String(error))) throw error; // another process may have taken the port
      }
    }
  }

  /** A server that another has started, at its port; only that one may stop it. */
  static at(port: number): MysqlServer {
    return new MysqlServer([], "", port);
  }

  /** The address of the database `test`, for a user who may do everything. */
  get url(): string {
    return this.urlOf();
  }

  /** The address of a database, for that user or another. */
  urlOf(database: string = DATABASE, user: string = USER, password: string = PASSWORD): string {
    return `mysql://${user}:${password}@127.0.0.1:${this.port}/${database}`;
  }

  /** The process id. */
  get pid(): number {
    return this.#child!.pid!;
  }

  /** Starts it on the data it has, after `halt` or `kill`; `further` parameters are for this once. */
  async start(...further: string[]): Promise<void> {
    // A file, not a pipe: the realm of the test file that started the server ends before those that use it afterwards.
    const log = join(this.directory, "log");
    const file = await open(log, "w");
    const child = this.#child = this.#spawn(further, file.fd);
    await file.close();
    await this.#watcher?.stop();
    this.#watcher = whenOrphaned(`kill -KILL ${child.pid}; rm -rf '${this.directory}'`);
    await ready(child, log);
    child.unref();
  }

  /** Runs the program with further parameters on the data to its end, and answers what it wrote. */
  async output(...further: string[]): Promise<string> {
    const child = this.#spawn(further, "pipe");
    let written = "";
    child.stderr!.setEncoding("utf8").on("data", (chunk: string) => written += chunk);
    await new Promise((resolve) => child.once("close", resolve));
    return written;
  }

  #spawn(further: readonly string[], log: number | "pipe"): ChildProcess {
    const [command, ...first] = this.#command;
    const at = (file: string) => join(this.directory, file);
    const own = [
      `--datadir=${at("data")}`,
      `--port=${this.port}`,
      `--socket=${at("socket")}`,
      `--pid-file=${at("pid")}`,
      `--tmpdir=${at("tmp")}`, // a MariaDB that starts deletes the temporary tables of all that share it: they crash
    ];
    return spawn(command, [...first, ...asThisUser(), ...own, ...further], { stdio: ["ignore", "ignore", log] });
  }

  /** Stops it in good order, keeping its data. */
  halt(): Promise<void> {
    return this.#end("SIGTERM");
  }

  /** Lets it die at once, as in a crash; `start` recovers. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** Stops it and starts it again. */
  async restart(): Promise<void> {
    await this.halt();
    await this.start();
  }

  /** Stops the server and removes its data. */
  async stop(): Promise<void> {
    await this.kill();
    await this.#watcher?.stop();
    this.#watcher = undefined;
    await rm(this.directory, { recursive: true, force: true });
  }

  /** Stops the server and removes its data. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  #end(signal: NodeJS.Signals): Promise<void> {
    if (this.directory === "") throw new Error("Cannot end a server that another has started");
    return ended(this.#child, signal);
  }
}

/** Sends a signal to a process and comes back when it has ended. */
async function ended(child: ChildProcess | undefined, signal: NodeJS.Signals): Promise<void> {
  if (!child || child.exitCode !== null || child.signalCode !== null) return;
  child.ref();
  const exit = new Promise((resolve) => child.once("exit", resolve));
  child.kill(signal);
  await exit;
}

/** Resolves when the server's log says that it takes connections; rejects with what it wrote when it ends instead. */
async function ready(child: ChildProcess, log: string): Promise<void> {
  let failure: unknown;
  child.once("error", (error) => failure = error);
  const until = performance.now() + START_TIMEOUT_MS;
  for (let written = ""; !/ready for connections/.test(written);) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    if (child.exitCode !== null || child.signalCode !== null) {
      failure = `it ended with ${child.signalCode ?? child.exitCode}`;
    }
    if (performance.now() > until) failure = `not ready after ${START_TIMEOUT_MS} ms`;
    written = await readFile(log, "utf8");
    if (failure !== undefined) throw new Error(`Cannot start the server: ${failure}\n${written}`);
  }
}
