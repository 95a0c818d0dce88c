/** Adopts each detached lock that it is told of, and says whether it could. */
import { adoptLock, connect, LockNotFound } from "@lockmgr/lockmgr";
import process from "node:process";
import { createInterface } from "node:readline";

const [url, lockedBy] = process.argv.slice(2);
const backend = await connect(url);
console.log(JSON.stringify("ready"));
for await (const line of createInterface({ input: process.stdin })) {
  try {
    const lock = await adoptLock(JSON.parse(line), { backend, expires: 60, lockedBy });
    console.log(JSON.stringify(String(lock.token)));
  } catch (error) {
    if (!(error instanceof LockNotFound)) throw error;
    console.log(JSON.stringify(null));
  }
}
