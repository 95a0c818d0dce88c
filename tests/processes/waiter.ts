/**
 * Tries one lock, then waits for it. Says when it ran, how much processor time the wait took, and how long (ms) a timer of
 * a millisecond and the acquisition of a free name take on this machine in that moment.
 */
import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import process from "node:process";

const [url, name] = process.argv.slice(2);
const backend = await connect(url);
const say = (value: unknown) => console.log(JSON.stringify(value));
await getLock(`warm-up ${process.pid}`, { backend, wait: 1 });
say({ free: await tryLock(name, { backend }) !== undefined });
// The share is that of the wait itself: a runtime that has just started compiles on other threads for a while.
let cpu = process.cpuUsage();
let from = performance.now();
setTimeout(() => {
  cpu = process.cpuUsage();
  from = performance.now();
}, 600);
const lock = await getLock(name, { backend, wait: 60 });
const at = performance.timeOrigin + performance.now();
const { user, system } = process.cpuUsage(cpu);
const share = (user + system) / 1e3 / (performance.now() - from);
const began = performance.now();
await new Promise((resolve) => setTimeout(resolve, 1));
await getLock(`control ${process.pid}`, { backend, wait: 1 });
say({ at, token: String(lock.token), share, control: performance.now() - began });
await lock.unlock();
await backend[Symbol.asyncDispose]();
