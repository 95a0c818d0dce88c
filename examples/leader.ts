/**
 * One of several processes leads. When it stops, dies or loses the database, another takes over.
 *
 *     deno run -A examples/leader.ts
 *
 * After a leader died, the longest time without one is its lease (`expires`); a leader that stops in good order is
 * replaced within milliseconds. In `hybrid` mode, on a server, so is one that died.
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
    // the leader's work, step by step; pass `leading` as the signal to anything that takes long
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
      if (stop.aborted || error instanceof LockLost || error instanceof Locked) continue; // join the queue again
      console.error(error); // the database cannot be reached, or the work failed
      await pause(1_000, undefined, { signal: stop }).catch(() => {});
    }
  }
}
