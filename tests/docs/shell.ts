/**
 * A machine as the pages mean it: `lockmgr` installed, an empty home, and the programs that the examples call.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";

/** How a piece of shell ended. */
export interface Ended {
  /** Its exit code; 1 when a signal ended it. */
  readonly code: number;
  /** What it printed on both streams. */
  readonly output: string;
}

/** A block that hangs is ended after so long (ms). */
const LONGEST = 60_000;
/** Where the examples' own programs and files are; stands for the root of the file system. */
const ABSOLUTE = /(?<![\w.$/])\/(srv|run\/lock|var\/lib\/jobs)\b/g;
/** Programs that the examples call: they do nothing, well. */
const PROGRAMS = ["fetch", "load", "npm", "systemctl"];

const root = process.cwd();

/** A home with a shell in it, gone afterwards. */
export class Shell implements AsyncDisposable {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Makes one. */
  static async open(): Promise<Shell> {
    const shell = new Shell(await mkdtemp(join(tmpdir(), "lockmgr-docs-")));
    await shell.#program("bin/deno", `exec '${process.execPath}' "$@"`);
    await shell.#program("bin/lockmgr", `exec '${process.execPath}' run -A '${join(root, "cli.ts")}' "$@"`);
    await shell.#program("bin/npx", 'test "$1" = -y && shift\nexec "$@"');
    for (const name of PROGRAMS) await shell.#program(`bin/${name}`, "exit 0");
    for (const folder of ["srv", "run/lock", "var/lib/jobs"]) {
      await mkdir(join(shell.#directory, folder), { recursive: true });
    }
    return shell;
  }

  /** Runs a piece of shell to its end, as pasted; what is called by a path is made first. A clone is the project itself. */
  async run(text: string, env: Record<string, string> = {}): Promise<Ended> {
    const here = text.replace(ABSOLUTE, `${this.#directory}/$1`);
    for (const [path] of here.matchAll(/(?<![\w.$/])(\.|\/[\w./-]+)?\/[\w./-]+\.sh\b/g)) {
      await this.#program(path.startsWith("./") ? path : path.slice(this.#directory.length), "exit 0");
    }
    const cwd = /\bcli\.ts\b/.test(text) ? root : this.#directory;
    return await runGroup(here, cwd, { ...this.#environment(), ...env });
  }

  #environment(): Record<string, string | undefined> {
    const { PATH, DENO_DIR = join(homedir(), ".cache/deno") } = process.env;
    return {
      PATH: `${join(this.#directory, "bin")}:${PATH}`,
      HOME: this.#directory,
      DENO_DIR,
      XDG_STATE_HOME: undefined,
      LOCKMGR_URL: undefined,
      NO_COLOR: "1",
    };
  }

  async #program(path: string, text: string): Promise<void> {
    const file = join(this.#directory, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, `#!/bin/sh\n${text}\n`);
    await chmod(file, 0o755);
  }

  /** Removes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Runs a shell in a process group of its own, so that one that hangs is ended with all that it has started. */
async function runGroup(text: string, cwd: string, env: Record<string, string | undefined>): Promise<Ended> {
  const child = spawn("/bin/sh", ["-euc", text], { cwd, env, stdio: ["ignore", "pipe", "pipe"], detached: true });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output += chunk);
  const timer = setTimeout(() => {
    output += `\nEnded after ${LONGEST / 1e3} s\n`;
    process.kill(-child.pid!, "SIGKILL");
  }, LONGEST);
  const [code] = await once(child, "close");
  clearTimeout(timer);
  return { code: code ?? 1, output };
}

/** A line of a crontab: a variable, or a command without its five fields and with its escapes undone. */
export function readCrontab(text: string): { variables: Record<string, string>; commands: string[] } {
  const variables: Record<string, string> = {};
  const commands: string[] = [];
  for (const line of text.split("\n")) {
    if (/^\s*(#|$)/.test(line)) continue;
    const variable = /^(\w+)=(.*)$/.exec(line);
    const entry = /^(?:@\w+|(?:[\d*,/-]+\s+){4}[\d*,/-]+)\s+(.*)$/.exec(line);
    if (variable) variables[variable[1]] = variable[2];
    else if (!entry || /(?<!\\)%/.test(entry[1])) throw new Error(`Cannot read this line of a crontab: ${line}`);
    else commands.push(entry[1].replaceAll("\\%", "%"));
  }
  return { variables, commands };
}
