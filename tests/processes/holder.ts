/** Takes one lock, says so, and does what it is told: `release`, `exit` without releasing, or nothing at all. */
import { connect, getLock } from "@lockmgr/lockmgr";
import process from "node:process";
import { createInterface } from "node:readline";

const [url, name, options] = process.argv.slice(2);
const backend = await connect(url);
const lock = await getLock(name, { backend, wait: 60, ...JSON.parse(options ?? "{}") });
const say = (value: unknown) => console.log(JSON.stringify(value));
const { signal } = lock;
signal.addEventListener("abort", () => say({ lost: signal.reason.code }));
say({ held: lock.held, token: String(lock.token) });
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order === "release") say({ released: await lock.unlock(), at: performance.timeOrigin + performance.now() });
  if (order === "state") say({ held: lock.held, verified: await lock.verify() });
  if (order === "exit") process.exit(0);
}
