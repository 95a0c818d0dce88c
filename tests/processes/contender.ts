/** When told to begin it takes one lock again and again; what it does while holding it fails when another does the same. */
import { connect, getLock } from "@lockmgr/lockmgr";
import { appendFile, mkdir, rmdir } from "node:fs/promises";
import { once } from "node:events";
import process from "node:process";

const [url, directory, rounds] = process.argv.slice(2);
const backend = await connect(url);
console.log(JSON.stringify("ready"));
await once(process.stdin, "data");
process.stdin.pause();
const cpu = process.cpuUsage();
const from = performance.now();
let overlaps = 0;
const finished: number[] = [];
for (let round = 0; round < Number(rounds); round++) {
  const lock = await getLock("contended", { backend, wait: 120 });
  try {
    await mkdir(`${directory}/inside`); // fails when somebody else is inside
    await appendFile(`${directory}/tokens`, `${lock.token}\n`);
    await rmdir(`${directory}/inside`);
  } catch {
    overlaps++;
  }
  await lock.unlock();
  finished.push(performance.timeOrigin + performance.now());
}
const { user, system } = process.cpuUsage(cpu);
console.log(JSON.stringify({ overlaps, finished, share: (user + system) / 1e3 / (performance.now() - from) }));
await backend[Symbol.asyncDispose]();
