/** Waits in vain for a lock and ends without closing anything: a turn that is still waited for keeps no process alive. */
import { connect, tryLock } from "@lockmgr/lockmgr";
import process from "node:process";

const backend = await connect(process.argv[2]);
console.log(JSON.stringify(await tryLock("a", { backend, wait: 0.3 }) === undefined));
