/** Leads whenever it is elected, until it is told to resign. Says when it began and when it last held the lock. */
import { connect, lead } from "@lockmgr/lockmgr";
import process from "node:process";

const backend = await connect(process.argv[2]);
const resignation = new AbortController();
process.stdin.once("data", () => resignation.abort());
process.stdin.unref?.();
const clock = () => performance.timeOrigin + performance.now();
const say = (value: unknown) => console.log(JSON.stringify(value));

await lead("job", { backend, expires: 5, signal: resignation.signal }, async (lock) => {
  const token = String(lock.token);
  let until = clock();
  say({ token, from: until });
  const ended = AbortSignal.any([lock.signal, resignation.signal]);
  const look = setInterval(() => {
    const now = clock(); // read first: the process may be stopped before the next line
    if (lock.held) until = now;
  }, 2);
  if (!ended.aborted) await new Promise((resolve) => ended.addEventListener("abort", resolve));
  clearInterval(look);
  say({ token, until });
});
await backend[Symbol.asyncDispose]();
process.exit(0);
