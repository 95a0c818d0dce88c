/** Takes a lock in each mode and ends without releasing or closing anything: nothing may keep the process alive. */
import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import process from "node:process";

const [url, mode] = process.argv.slice(2);
const backend = await connect(url, { mode: mode as Mode });
const lock = await getLock("a", { backend, ...(mode === "session" ? {} : { autoRenew: true }) });
lock.signal.addEventListener("abort", () => {});
console.log(JSON.stringify(lock.held));
