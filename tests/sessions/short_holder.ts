/** Takes one lock whose session the server ends after a second of silence, and tells of its loss and of its state. */
import { getLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import process from "node:process";
import { createInterface } from "node:readline";

const [url, name] = process.argv.slice(2);
const open = url.startsWith("postgres") ? postgresBackend : mysqlBackend;
const backend = await open(url, { sessionTimeout: 1 });
const lock = await getLock(name, { backend });
const say = (value: unknown) => console.log(JSON.stringify(value));
lock.signal.addEventListener("abort", () => say({ lost: lock.signal.reason.code }));
say({ held: lock.held });
for await (const line of createInterface({ input: process.stdin })) {
  if (JSON.parse(line) === "state") say({ held: lock.held, verified: await lock.verify() });
}
