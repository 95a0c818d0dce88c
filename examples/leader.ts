/**
 * One of several processes leads; when it stops, dies or loses touch with the database, another takes over.
 *
 *     deno run -A examples/leader.ts
 *
 * The longest time without a leader is the lease (`expires`) of one that died; one that stops in good order is
 * followed within milliseconds. In `hybrid` mode, on a server, that holds for one that dies as well.
 *
 * @module
 */
import { Locked, LockLost, withLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());

await lead("scheduler", stop.signal, async (leading) => {
  console.log("leads");
  while (!leading.aborted) {
    // what a leader does, a piece at a time; whatever takes long gets `leading` as its signal
    await pause(1_000, undefined, { signal: leading }).catch(() => {});
  }
  console.log("leads no more");
});

/** Runs `work` whenever this process leads, until `stop`. */
async function lead(name: string, stop: AbortSignal, work: (leading: AbortSignal) => Promise<void>): Promise<void> {
  while (!stop.aborted) {
    try {
      await withLock(name, { expires: 10, wait: Infinity, signal: stop, lockProcess: process.pid }, (lock) => {
        return work(AbortSignal.any([stop, lock.signal]));
      });
    } catch (error) {
      if (stop.aborted || error instanceof LockLost || error instanceof Locked) continue; // back into the line
      console.error(error); // the database cannot be reached, or the work failed
      await pause(1_000, undefined, { signal: stop }).catch(() => {});
    }
  }
}
