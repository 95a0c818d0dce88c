/**
 * A process that takes a lock and says so, then does what it is told on its standard input. For tests that kill it.
 *
 * @module
 */
import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import process from "node:process";

const [url, mode, table, name, expires] = process.argv.slice(2);
const backend = await connect(url, { mode: mode as Mode, table });
const lock = await getLock(name, { backend, ...(mode === "session" ? {} : { expires: Number(expires) }) });
lock.signal.addEventListener("abort", () => process.stdout.write("lost\n"));
process.stdout.write(`held ${lock.token}\n`);
process.stdin.on("data", async () => {
  await lock.unlock();
  process.stdout.write("released\n");
});
setInterval(() => {}, 1_000);
