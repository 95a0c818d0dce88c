/**
 * A program that takes a lease, waits to be told, then writes under its guard and says what came of it.
 *
 * @module
 */
import { connect, getLock } from "@lockmgr/lockmgr";
import process from "node:process";
import postgres from "postgres";

const [url, table, expires] = process.argv.slice(2);
const sql = postgres(url, { max_lifetime: null, max: 1 });
const backend = await connect(url, { table });
const lock = await getLock("ledger", { backend, expires: Number(expires) });
console.log(JSON.stringify("held"));
process.stdin.once("data", async () => {
  const outcome = await sql.begin(async (tx) => {
    await tx.unsafe(`INSERT INTO ${table}_ledger VALUES ('stopped')`);
    await lock.guard(tx);
  }).then(() => "written", (error) => error.name);
  console.log(JSON.stringify(outcome));
  process.exit();
});
