/**
 * Programs that stand between clients and a server: each a process with a port and a directory of its own.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { asOrdinaryUser, freePort, privateDirectory, type Watcher, whenOrphaned } from "./tools.ts";

/** How a program is started. */
export interface ProxyProgram {
  readonly name: string;
  readonly command: readonly [command: string, ...first: string[]];
  /** Writes its settings into the directory, and answers its parameters. */
  configure(port: number, directory: string): string[];
}

/** A running one. */
export class ProxyProcess implements AsyncDisposable {
  /** The TCP port on 127.0.0.1, the same after a restart. */
  readonly port: number;
  readonly #name: string;
  readonly #command: readonly string[];
  readonly #directory: string;
  #child: ChildProcess | undefined;
  #watcher: Watcher | undefined;

  private constructor(port: number, directory: string, name: string, command: readonly string[]) {
    this.port = port;
    this.#directory = directory;
    this.#name = name;
    this.#command = command;
  }

  /** Starts one. */
  static async start({ name, command, configure }: ProxyProgram): Promise<ProxyProcess> {
    const directory = privateDirectory(name.toLowerCase());
    const port = await freePort();
    const started = new ProxyProcess(port, directory, name, [...command, ...configure(port, directory)]);
    await started.run();
    return started;
  }

  /** Starts it after {@linkcode kill}. */
  async run(): Promise<void> {
    const [program, ...all] = this.#command;
    const [command, parameters] = asOrdinaryUser(program, all);
    const child = spawn(command, parameters, { stdio: "ignore" });
    child.unref();
    this.#child = child;
    await this.#watcher?.stop();
    this.#watcher = whenOrphaned(`kill -KILL ${child.pid}; rm -rf '${this.#directory}'`);
    await this.#listening(child);
  }

  /** Kills it, and with it all connections through it. */
  async kill(): Promise<void> {
    const child = this.#child!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.ref();
    child.kill("SIGKILL");
    await ended;
  }

  /** Stops it and removes its directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#watcher?.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Waits until it takes connections. */
  async #listening(child: ChildProcess): Promise<void> {
    for (let tries = 0; tries < 2_400; tries++) {
      if (child.exitCode !== null) throw new Error(`${this.#name} ended with exit ${child.exitCode}`);
      const open = await new Promise<boolean>((resolve) => {
        const socket = connect(this.port, "127.0.0.1", () => (socket.destroy(), resolve(true)));
        socket.once("error", () => resolve(false));
      });
      if (open) return;
      await delay(25);
    }
    throw new Error(`${this.#name} takes no connections`);
  }
}
