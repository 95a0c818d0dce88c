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
import { lead } from "@lockmgr/lockmgr";
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";

const stop = new AbortController();
for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => stop.abort());

await lead("scheduler", { expires: 10, signal: stop.signal }, async (lock) => {
  console.log("leads");
  const ended = AbortSignal.any([lock.signal, stop.signal]);
  while (!ended.aborted) {
    // the leader's work, step by step; pass `ended` as the signal to anything that takes long
    await pause(1_000, undefined, { signal: ended }).catch(() => {});
  }
  console.log("leads no more");
});
