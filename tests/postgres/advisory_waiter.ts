/**
 * Does nothing but wait for two advisory locks, one after the other, and says when it has each.
 *
 * @module
 */
import { connect } from "@lockmgr/lockmgr";
import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import process from "node:process";
import postgres from "postgres";

const [url, ...ids] = process.argv.slice(2);
const clients = [await connect(url), postgres(url)];
for (const [index, client] of clients.entries()) {
  await advisoryLock(client, Number(ids[index]));
  console.log("true");
}
process.exit();
