/**
 * The real program in a process of its own, in a pipe or on a terminal.
 *
 * @module
 */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The program as a file. */
export const CLI = fileURLToPath(new URL("../../cli.ts", import.meta.url));

/** The command as npm links it, in a folder where the package is installed. */
const LINK = join(process.cwd(), "node_modules", ".bin", "lockmgr");

/** How the program is called: `LOCKMGR_PROGRAM` may name another one, such as an installed or a compiled one. */
export const PROGRAM: readonly string[] = process.env.LOCKMGR_PROGRAM?.split(" ") ??
  ("Deno" in globalThis ? [process.execPath, "run", "-A", "--quiet", CLI] : [process.execPath, LINK]);

/** The runtime's flag for a module that is loaded before the program. */
const PRELOAD = "Deno" in globalThis || "Bun" in globalThis ? "--preload" : "--import";

/** What came of one call. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that runs. */
export class Running {
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  #stdout = "";
  #stderr = "";
  #changed: () => void = () => {};

  constructor(child: ChildProcessWithoutNullStreams) {
    this.process = child;
    child.stdin.on("error", () => {}); // it may end before it has read everything
    child.stdout.on("data", (chunk) => {
      this.#stdout += chunk;
      this.#changed();
    });
    child.stderr.on("data", (chunk) => {
      this.#stderr += chunk;
      this.#changed();
    });
    this.ended = once(child, "close").then(([code, signal]) => {
      this.#changed();
      return { code, signal, stdout: this.#stdout, stderr: this.#stderr };
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Sends a signal. `ChildProcess.kill` would make Deno 2.9 tell of an end by that signal, whatever the exit code was. */
  kill(signal: NodeJS.Signals): void {
    try {
      process.kill(this.process.pid!, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error; // it has ended
    }
  }

  /** Resolves as soon as stdout or stderr matches. */
  async says(pattern: RegExp): Promise<RegExpMatchArray> {
    for (;;) {
      const match = this.#stdout.match(pattern) ?? this.#stderr.match(pattern);
      if (match) return match;
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        await this.ended;
        const last = this.#stdout.match(pattern) ?? this.#stderr.match(pattern);
        if (last) return last;
        throw new Error(`It ended without saying ${pattern}:\n${this.#stdout}\n${this.#stderr}`);
      }
      await new Promise<void>((resolve) => {
        this.#changed = resolve;
        this.process.once("close", () => resolve());
      });
    }
  }
}

/** A directory and a database of a test's own. */
export class Place implements AsyncDisposable {
  readonly directory: string;
  readonly environment: Record<string, string>;
  readonly #running: Running[] = [];

  private constructor(directory: string, url: string) {
    this.directory = directory;
    const { PATH = "", HOME = "", DENO_DIR } = process.env;
    this.environment = {
      PATH,
      HOME,
      ...(DENO_DIR ? { DENO_DIR } : {}),
      LOCKMGR_URL: url,
      TERM: "xterm",
    };
  }

  /** Makes one; without a URL the database is a file in the directory. */
  static async make(url?: string): Promise<Place> {
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-cli-"));
    return new Place(directory, url ?? `sqlite:${directory}/locks.db`);
  }

  /** Starts the program with pipes. */
  start(args: readonly string[], environment: Record<string, string> = {}): Running {
    return this.#spawn([...PROGRAM, ...args], environment);
  }

  /** Starts the program after a module of the tests. */
  startAfter(module: URL, args: readonly string[]): Running {
    return this.#spawn([...PROGRAM.slice(0, -1), PRELOAD, fileURLToPath(module), PROGRAM.at(-1)!, ...args]);
  }

  /** Starts a shell in which `"$@"` is the program with these arguments. */
  inShell(script: string, args: readonly string[], environment: Record<string, string> = {}): Running {
    return this.#spawn(["bash", "-c", script, "bash", ...PROGRAM, ...args], environment);
  }

  /** Starts the program on a terminal of its own (util-linux `script`); what is written to its stdin is typed. */
  onTerminal(args: readonly string[], environment: Record<string, string> = {}): Running {
    const line = [...PROGRAM, ...args].map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
    return this.#spawn(["script", "-qefc", `exec ${line}`, "/dev/null"], { SHELL: "/bin/sh", ...environment });
  }

  /** Runs the program to its end. */
  async run(args: readonly string[], input = "", environment: Record<string, string> = {}): Promise<Ended> {
    const running = this.start(args, environment);
    running.process.stdin.end(input);
    return await running.ended;
  }

  /** Runs the program with `--json` and reads the one document that it prints. */
  // deno-lint-ignore no-explicit-any -- documents differ by command
  async json(args: readonly string[]): Promise<any> {
    return JSON.parse((await this.run([...args, "--json"])).stdout);
  }

  #spawn([command, ...args]: readonly string[], environment: Record<string, string> = {}): Running {
    const child = spawn(command, args, { cwd: this.directory, env: { ...this.environment, ...environment } });
    const running = new Running(child as ChildProcessWithoutNullStreams);
    this.#running.push(running);
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { process: child, ended } of this.#running) {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      child.stdin.destroy();
      await ended;
    }
    await rm(this.directory, { recursive: true, force: true });
  }
}

/**
 * Resolves once a program listens to a signal, or has ended: Linux tells which signals a process catches. SIGQUIT is the
 * last that every command begins with.
 */
export async function untilListening(pid: number, signal: NodeJS.Signals = "SIGQUIT"): Promise<void> {
  const bit = 1n << BigInt(constants.signals[signal] - 1);
  for (;;) {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch((error) => {
      if (error.code !== "ENOENT" && error.code !== "ESRCH") throw error; // it has ended
    });
    if (status === undefined) return;
    const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(status)![1];
    if (BigInt(`0x${caught}`) & bit) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** Whether a process is there and no zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    const { readFileSync } = process.getBuiltinModule("node:fs");
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
