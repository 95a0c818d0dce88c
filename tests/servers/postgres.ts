/**
 * A private PostgreSQL for tests: its own data directory and port, gone afterwards.
 *
 * @module
 */
import { appendFileSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { type Binaries, findBinaries } from "./postgres_binaries.ts";
import { cached } from "../cache/cache.ts";
import { asOrdinaryUser, freePort, giveToOrdinaryUser, privateDirectory, processesIn, run } from "./tools.ts";
import { type Watcher, whenOrphaned } from "./tools.ts";

/** How a server for tests is set up. */
export interface PostgresServerOptions {
  /** Which PostgreSQL: what is installed, or the newest that npm offers. @default "installed" */
  version?: "installed" | "newest";
  /** Further settings of `postgresql.conf`. */
  settings?: Record<string, string>;
  /** Lines of `pg_hba.conf` that come before the one that lets everybody in. */
  hba?: readonly string[];
  /** Takes encrypted connections with a fresh certificate for `localhost`. @default false */
  tls?: boolean;
}

/** Settings of every server for tests: a killed server loses nothing without `fsync`, and the disk is everybody's. */
const SETTINGS = {
  fsync: "off",
  listen_addresses: "127.0.0.1",
  max_connections: "200",
  max_prepared_transactions: "2",
  wal_level: "replica",
  "pg_stat_statements.track_utility": "off",
};

/** The time zone of the servers' sessions. */
const TIME_ZONE = process.env.TZ ?? "UTC";

/** A running PostgreSQL. */
export class PostgresServer implements AsyncDisposable {
  /** The TCP port on 127.0.0.1, the same after a restart. */
  readonly port: number;
  readonly #binaries: Binaries;
  readonly #directory: string;
  #watcher: Watcher | undefined;

  private constructor(binaries: Binaries, directory: string, port: number) {
    this.#binaries = binaries;
    this.#directory = directory;
    this.port = port;
  }

  /** Makes a data directory and starts a server in it. */
  static async start(options: PostgresServerOptions = {}): Promise<PostgresServer> {
    const binaries = await findBinaries(options.version ?? "installed");
    const directory = privateDirectory("postgres");
    const server = new PostgresServer(binaries, directory, await freePort());
    try {
      await server.#initialize(options);
      await server.start();
    } catch (error) {
      await server.stop().catch(() => {}); // the first error is the one to tell of
      throw error;
    }
    return server;
  }

  /** The address of database `postgres` for the superuser, who needs no password. */
  get url(): string {
    return this.urlOf("postgres");
  }

  /** The address of a database, for the superuser or another role. */
  urlOf(database: string, role = "postgres"): string {
    return `postgres://${role}@127.0.0.1:${this.port}/${database}`;
  }

  /** Where its data is. */
  get dataDirectory(): string {
    return join(this.#directory, "data");
  }

  /** The directory of its Unix socket. */
  get socketDirectory(): string {
    return this.#directory;
  }

  /** The process id of its first process. */
  get pid(): number {
    return Number(readFileSync(join(this.dataDirectory, "postmaster.pid"), "utf8").split("\n")[0]);
  }

  /** What it has logged so far. */
  get log(): string {
    return readFileSync(join(this.#directory, "server.log"), "utf8");
  }

  /** The certificate of a server with `tls`, which it has signed itself. */
  get certificate(): string {
    return readFileSync(join(this.#directory, "server.crt"), "utf8");
  }

  async #initialize({ settings, hba = [], tls = false }: PostgresServerOptions): Promise<void> {
    const initdb = join(this.#binaries.directory, "initdb");
    const template = await cached(`postgres-data${initdb.replaceAll("/", "-")}`, async (directory) => {
      giveToOrdinaryUser(directory);
      const parameters = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"];
      await this.#run(initdb, ["-D", join(directory, "data"), ...parameters]);
    });
    await this.#run("cp", ["-R", join(template, "data"), this.dataDirectory]); // in 0.1 s; initdb computes for a second
    const preload = this.#binaries.counting ? { shared_preload_libraries: "pg_stat_statements" } : {};
    const place = { port: `${this.port}`, unix_socket_directories: this.#directory, timezone: TIME_ZONE };
    const all = { ...SETTINGS, ...preload, ...place, ...tls ? await this.#certify() : {}, ...settings };
    const lines = Object.entries(all).map(([name, value]) => `${name} = '${value}'\n`);
    appendFileSync(join(this.dataDirectory, "postgresql.conf"), lines.join(""));
    const access = join(this.dataDirectory, "pg_hba.conf");
    writeFileSync(access, `${hba.join("\n")}\n${readFileSync(access, "utf8")}`);
  }

  /** Makes a key and a certificate that it signs itself; answers the settings that name them. */
  async #certify(): Promise<Record<string, string>> {
    const [key, certificate] = ["server.key", "server.crt"].map((file) => join(this.#directory, file));
    const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
    const parameters = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...subject];
    await this.#run("openssl", [...parameters, "-keyout", key, "-out", certificate]);
    return { ssl: "on", ssl_key_file: key, ssl_cert_file: certificate };
  }

  /** Starts it after a `stop` that kept the data, or a `kill`. */
  async start(): Promise<void> {
    await this.#control("start", "-l", join(this.#directory, "server.log"));
    const data = this.dataDirectory;
    this.#watcher ??= whenOrphaned(
      `kill -QUIT $(head -1 '${data}/postmaster.pid'); sleep 1; rm -rf '${this.#directory}'`,
    );
  }

  /** Whether replicas of it can be made: the programs from npm lack what it takes. */
  get replicable(): boolean {
    return existsSync(join(this.#binaries.directory, "pg_basebackup"));
  }

  /** Starts a read-only replica that has all that this server has, and follows it. */
  async replica(): Promise<PostgresServer> {
    const directory = privateDirectory("postgres");
    const replica = new PostgresServer(this.#binaries, directory, await freePort());
    const from = ["-h", "127.0.0.1", "-p", `${this.port}`, "-U", "postgres"];
    try {
      const parameters = [...from, "-D", replica.dataDirectory, "--write-recovery-conf", "--checkpoint=fast"];
      await this.#run(join(this.#binaries.directory, "pg_basebackup"), parameters);
      const place = `port = '${replica.port}'\nunix_socket_directories = '${directory}'\n`;
      appendFileSync(join(replica.dataDirectory, "postgresql.conf"), place);
      await replica.start();
    } catch (error) {
      await replica.stop().catch(() => {}); // the first error is the one to tell of
      throw error;
    }
    return replica;
  }

  /** Has it take writes, where it was in recovery. */
  async promote(): Promise<void> {
    await this.#control("promote");
  }

  /** Stops it and starts it again, ending every connection in good order. */
  async restart(): Promise<void> {
    await this.#control("restart", "-m", "fast", "-l", join(this.#directory, "server.log"));
  }

  /** Kills its first process, as when memory runs out; `start` recovers. Resolves when the others have noticed. */
  async kill(): Promise<void> {
    const lock = join(this.dataDirectory, "postmaster.pid");
    const [pid] = readFileSync(lock, "utf8").split("\n");
    process.kill(Number(pid), "SIGKILL");
    for (let looks = 0; looks < 500 && processesIn(this.dataDirectory).length > 0; looks++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // where nobody buries the dead, the next one would take it for alive
    for (const left of [lock, join(this.#directory, `.s.PGSQL.${this.port}.lock`)]) rmSync(left, { force: true });
  }

  /** Has all its processes end at once, without a farewell to anybody; `start` recovers. */
  async crash(): Promise<void> {
    await this.#control("stop", "-m", "immediate");
  }

  /** Stops the server for a while, keeping its data. */
  async halt(): Promise<void> {
    await this.#control("stop", "-m", "fast");
  }

  /** Stops the server and removes its data. */
  async stop(): Promise<void> {
    await this.#control("stop", "-m", "immediate").catch(() => {}); // it may be down already
    await this.#watcher?.stop();
    this.#watcher = undefined;
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Stops the server and removes its data. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** Makes an empty database of its own for a test, and answers its address. */
  async createDatabase(name: string): Promise<string> {
    const { default: postgres } = await import("postgres");
    const sql = postgres(this.url, { max_lifetime: null, max: 1, onnotice: () => {} });
    try {
      await sql.unsafe(`CREATE DATABASE "${name}"`);
    } finally {
      await sql.end();
    }
    return this.urlOf(name);
  }

  async #control(verb: string, ...parameters: string[]): Promise<void> {
    await this.#run(join(this.#binaries.directory, "pg_ctl"), [
      verb,
      "-D",
      this.dataDirectory,
      "-w",
      "-t",
      "60",
      ...parameters,
    ]);
  }

  async #run(program: string, parameters: string[]): Promise<void> {
    const [command, all] = asOrdinaryUser(program, parameters);
    await run(command, all, { cwd: "/", env: { LC_ALL: "C", TZ: TIME_ZONE } });
  }
}
