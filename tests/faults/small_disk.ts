/**
 * A disk of one megabyte, in memory, that a test may fill. Mounting needs the rights of root.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Disk } from "./environments.ts";

const run = promisify(execFile);
const SIZE = "1m";
const BLOCK = 4096;

/** Whether this process may mount. */
export async function mayMount(): Promise<boolean> {
  const directory = await Deno.makeTempDir();
  try {
    await using _ = await smallDisk(directory);
    return true;
  } catch {
    return false;
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** Mounts one on a directory. */
export async function smallDisk(directory: string): Promise<Disk & AsyncDisposable> {
  await run("mount", ["-t", "tmpfs", "-o", `size=${SIZE}`, "lockmgr-test", directory]);
  const ballast = join(directory, "ballast");
  return {
    async fill() {
      const file = await open(ballast, "a");
      try {
        for (;;) await file.write(new Uint8Array(BLOCK));
      } catch (error) {
        if ((error as { code?: string }).code !== "ENOSPC") throw error;
      } finally {
        await file.close();
      }
    },
    free: () => rm(ballast, { force: true }),
    [Symbol.asyncDispose]: async () => void await run("umount", ["-l", directory]),
  };
}
