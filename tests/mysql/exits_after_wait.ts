/** Waits for a lock without success and ends without closing anything: an open backend keeps no process alive. */
import { connect, tryLock } from "@lockmgr/lockmgr";
import process from "node:process";

const backend = await connect(process.argv[2]);
console.log(JSON.stringify(await tryLock("a", { backend, wait: 0.3 }) === undefined));
