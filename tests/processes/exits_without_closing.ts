/** Takes locks, one of them renewed, and ends without releasing anything: nothing may keep the process alive. */
import { connect, getLock } from "@lockmgr/lockmgr";
import process from "node:process";

const backend = await connect(process.argv[2]);
const lock = await getLock("a", { backend, autoRenew: true });
await getLock("b", { backend, expires: 60 }).then(({ signal }) => signal);
console.log(lock.held ? "held" : "lost");
