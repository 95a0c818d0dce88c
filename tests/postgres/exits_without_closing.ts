/**
 * A program that takes a lock, waits for another in vain, and closes nothing.
 *
 * @module
 */
import { connect, getLock, type Mode, tryLock } from "@lockmgr/lockmgr";
import process from "node:process";

const [url, mode, table] = process.argv.slice(2);
const backend = await connect(url, { mode: mode as Mode, table });
await getLock("a", { backend });
await tryLock("a", { backend: await connect(url, { mode: mode as Mode, table }), wait: 0.1 });
