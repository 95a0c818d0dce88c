/** Requests a lock, says when it is granted, and what it sees; holds it until it is told to release it. */
import { connect } from "@lockmgr/lockmgr";
import { lockManager } from "@lockmgr/lockmgr/web-locks";
import process from "node:process";
import { createInterface } from "node:readline";

const [url, name, expires] = process.argv.slice(2);
const backend = await connect(url);
const locks = lockManager(backend, { expires: Number(expires) });
const say = (value: unknown) => console.log(JSON.stringify(value));
const told = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
say("requests");
await locks.request(name, async (lock) => {
  say({ token: String(lock!.token), state: await locks.query() });
  await told.next();
});
say("released");
await backend[Symbol.asyncDispose]();
process.exit(0); // the input may still be open
