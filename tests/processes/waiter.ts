/**
 * Tries one lock, then waits for it. Says when it ran, how much processor time the wait took, and how long (ms) a timer of
 * a millisecond and the acquisition of a free name take on this machine in that moment. With a third argument it says what
 * share of the processor a bare timer takes for so long (ms) that fires as often as a waiter polls at its slowest.
 */
import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import process from "node:process";

/** The longest pause between polls (ms). */
const PACE_MS = 15;

const [url, name, timerFor = "0"] = process.argv.slice(2);
const backend = await connect(url);
const say = (value: unknown) => console.log(JSON.stringify(value));
await getLock(`warm-up ${process.pid}`, { backend, wait: 1 });
say({ free: await tryLock(name, { backend }) !== undefined });
const sleep = (delay: number) => new Promise((resolve) => setTimeout(resolve, delay));
/** Begins to measure the share of the processor that this process takes. */
const measure = () => {
  const [cpu, from] = [process.cpuUsage(), performance.now()];
  return () => {
    const { user, system } = process.cpuUsage(cpu);
    return (user + system) / 1e3 / (performance.now() - from);
  };
};
// The share is that of the wait itself: a runtime that has just started compiles on other threads for a while.
let shareOfWait = measure();
setTimeout(() => shareOfWait = measure(), 600);
const lock = await getLock(name, { backend, wait: 60 });
const at = performance.timeOrigin + performance.now();
const share = shareOfWait();
const began = performance.now();
await sleep(1);
await getLock(`control ${process.pid}`, { backend, wait: 1 });
const control = performance.now() - began;
const [shareOfTimer, timerFrom] = [measure(), performance.now()];
while (performance.now() - timerFrom < Number(timerFor)) await sleep(PACE_MS);
say({ at, token: String(lock.token), share, control, timerShare: shareOfTimer() });
await lock.unlock();
await backend[Symbol.asyncDispose]();
