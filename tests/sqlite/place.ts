import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory of one test's own, gone afterwards. */
export async function place(): Promise<AsyncDisposable & { directory: string; path: string }> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  return {
    directory,
    path: join(directory, "locks.db"),
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true }),
  };
}
