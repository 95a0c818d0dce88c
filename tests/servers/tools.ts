/**
 * What the servers for tests have in common: running programs, directories of their own, free ports.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { accessSync, chownSync, constants, mkdtempSync, readdirSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Whether this process is root: database servers refuse to run so. */
const isRoot = process.getuid?.() === 0;

/** What a program wrote. */
export interface Output {
  /** Its standard output. */
  readonly stdout: string;
  /** Its standard error. */
  readonly stderr: string;
}

/** Runs a program to its end; rejects with what it wrote when it fails. */
export function run(
  command: string,
  parameters: readonly string[],
  options: { readonly cwd?: string; readonly env?: Record<string, string> } = {},
): Promise<Output> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...options.env };
    const child = spawn(command, [...parameters], { cwd: options.cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    let stdout = "", stderr = "";
    child.stdout!.on("data", (chunk) => stdout += chunk);
    child.stderr!.on("data", (chunk) => stderr += chunk);
    child.on("error", reject);
    // "exit", not "close": a server started by the program inherits its pipes and keeps them open
    child.on("exit", (code, signal) => {
      if (code === 0) resolve({ stdout, stderr });
      else reject(new Error(`${command} ${parameters.join(" ")}: ${signal ?? `exit ${code}`}\n${stdout}${stderr}`));
    });
  });
}

/** The program and its parameters as an ordinary user would run it: `nobody` when this process is root. */
export function asOrdinaryUser(command: string, parameters: readonly string[]): [string, string[]] {
  if (!isRoot) return [command, [...parameters]];
  return ["setpriv", ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", command, ...parameters]];
}

/** Ids of Debian's `nobody` and `nogroup`. */
const NOBODY = 65534;

/** Makes the ordinary user the owner of a directory. */
export function giveToOrdinaryUser(directory: string): void {
  if (isRoot) chownSync(directory, NOBODY, NOBODY);
}

/** A new directory that the ordinary user owns. */
export function privateDirectory(prefix: string): string {
  const directory = mkdtempSync(join(tmpdir(), `lockmgr-${prefix}-`));
  giveToOrdinaryUser(directory);
  return directory;
}

/** The full path of a program on the search path; `undefined` when it is not installed. */
export function findProgram(name: string): string | undefined {
  const directories = (process.env.PATH ?? "").split(":").concat("/usr/sbin", "/usr/local/sbin");
  return directories.map((directory) => join(directory, name)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Ports for servers lie below those that the kernel gives to outgoing connections (32,768 and up on Linux). */
const FIRST_PORT = 10_000;
const LAST_PORT = 32_000;

/** Ports that were handed out, of which some servers do not listen yet. */
const given = new Set<number>();

/** Whether a server can listen on a port of this machine. */
function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/**
 * A free TCP port of this machine. No outgoing connection can take it before its server listens, or while that server
 * is restarted.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
}

/** Cleans up when this process ends without having done so. */
export interface Watcher {
  /** Ends the watcher: the clean-up was done. */
  stop(): Promise<void>;
}

/** Runs `cleanup` (shell) when this process has ended without having done so itself. */
export function whenOrphaned(cleanup: string): Watcher {
  const script = `while kill -0 ${process.pid} 2>/dev/null; do sleep 5; done; ${cleanup}`;
  const child = spawn("sh", ["-c", script], { detached: true, stdio: "ignore" });
  child.unref();
  return {
    stop: () =>
      new Promise((resolve) => {
        child.ref();
        child.once("exit", () => resolve());
        process.kill(-child.pid!, "SIGKILL"); // with the `sleep` it is in
      }),
  };
}

/** The processes whose working directory is this one. */
export function processesIn(directory: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readlinkSync(`/proc/${pid}/cwd`) === directory;
    } catch {
      return false; // gone meanwhile, or somebody else's
    }
  });
}
