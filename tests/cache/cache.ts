/**
 * The cache of the tests: programs, packages and data directories, outside the project, for several runs.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** Written last into each directory of the cache: its time is when the directory was made. */
const MARKER = ".made";

/** Returns the cache's path. Servers that run as an ordinary user read from it where the tests run as root. */
async function cacheDirectory(): Promise<string> {
  const { LOCKMGR_TEST_CACHE, XDG_CACHE_HOME } = process.env;
  const own = () => join(XDG_CACHE_HOME || join(homedir(), ".cache"), "lockmgr-tests");
  const directory = LOCKMGR_TEST_CACHE || (process.getuid?.() === 0 ? "/var/cache/lockmgr-test" : own());
  if (await mkdir(directory, { recursive: true })) await chmod(directory, 0o755);
  return directory;
}

/** Whether a directory is complete and was made within the last `freshForMs`. */
async function isFresh(directory: string, freshForMs: number): Promise<boolean> {
  const made = await stat(join(directory, MARKER)).catch(() => undefined); // it is not there
  return made !== undefined && Date.now() - made.mtimeMs < freshForMs;
}

/** Waits until no other process locks the file, and locks it. flock(1) unlocks it when this process ends. */
async function lockFile(file: string): Promise<AsyncDisposable> {
  const child = spawn("flock", [file, "sh", "-c", "echo; exec cat"], { stdio: ["pipe", "pipe", "ignore"] });
  const ended = new Promise((resolve) => child.once("close", resolve).once("error", resolve));
  child.stdin.on("error", () => {}); // it has ended
  await Promise.race([once(child.stdout, "data"), ended]); // it ends at once on a system that has no flock(1)
  return {
    async [Symbol.asyncDispose]() {
      await rm(file, { force: true });
      child.stdin.end();
      await ended;
    },
  };
}

/**
 * Makes a directory of the cache, unless it is there. Of the processes that ask at the same time one fills it while the
 * others wait: on an empty cache four of them unpacked MySQL, each for 10 s of the processor.
 *
 * @param name The directory's name; another one for another content.
 * @param fill Fills the directory that it is given; when it throws, nothing stays.
 * @param freshForMs After this time the directory is made again. If that fails, as without a network, the old one is used.
 */
export async function cached(
  name: string,
  fill: (directory: string) => Promise<void>,
  freshForMs = Infinity,
): Promise<string> {
  const target = join(await cacheDirectory(), name);
  if (await isFresh(target, freshForMs)) return target;
  await using _locked = await lockFile(`${target}.lock`);
  if (await isFresh(target, freshForMs)) return target;
  const [draft, old] = [await mkdtemp(`${target}.`), `${target}.old`];
  try {
    await fill(draft);
    await writeFile(join(draft, MARKER), "");
    await rm(old, { recursive: true, force: true });
    if (existsSync(target)) await rename(target, old);
    await rename(draft, target);
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    if (!await isFresh(target, Infinity)) throw error;
    return target;
  }
  await rm(old, { recursive: true, force: true });
  return target;
}
