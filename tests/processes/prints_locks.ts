/** Prints a handle, a record and a manager, as a person does who looks at them. */
import { connect, getLock, listLocks, LockMgr } from "@lockmgr/lockmgr";
import process from "node:process";
import { inspect } from "node:util";

await using backend = await connect(process.argv[2]);
const lock = await getLock("jobs", { backend, lockedBy: "host-a", metadata: { shard: 7 } });
const [record] = await listLocks({ backend });
console.log(lock);
console.log({ record });
console.log(inspect([lock]));
console.log(await LockMgr.acquire("main", { backend, lockedBy: "host-b" }));
