/**
 * Waits for an advisory lock that is held, and holds others, on sessions and in transactions, until it is killed.
 *
 * @module
 */
import { connect } from "@lockmgr/lockmgr";
import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import process from "node:process";
import postgres from "postgres";

const [url, id] = process.argv.slice(2);
const connection = { application_name: `worker ${id}` };
const backend = await connect(url, { driver: { connection } });
const sql = postgres(url, { connection });
const own = BigInt(id) * 1_000n;

/** Repeats something, each time with a wait that ends in another way. */
async function repeat(work: (limit: { timeout?: number; signal?: AbortSignal }) => Promise<unknown>): Promise<void> {
  for (;;) {
    await work({ timeout: Math.random() * 0.1 }).catch(() => {});
    await work({ signal: AbortSignal.timeout(Math.ceil(Math.random() * 100)) }).catch(() => {});
  }
}

for (const shared of [true, false]) {
  advisoryLock(backend, Number(id), { shared });
  sql.begin((tx) => advisoryLock(tx, Number(id), { shared }));
}
repeat((limit) => advisoryLock(backend, Number(id), limit));
repeat((limit) => advisoryLock(sql, Number(id), { ...limit, shared: true }));
repeat((limit) => sql.begin((tx) => advisoryLock(tx, Number(id), limit)));
await advisoryLock(backend, own).then((lock) => lock.release());
await sql.begin((tx) => advisoryLock(tx, own));
console.log("true");
repeat(async () => await (await advisoryLock(backend, own)).release());
repeat(() => sql.begin((tx) => advisoryLock(tx, own)));
