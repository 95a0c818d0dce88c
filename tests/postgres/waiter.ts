/**
 * A process that waits for a lock, and says what it holds, and by how much (ms, at least) its own deadline exceeds the
 * expiry at the server; when told to end, whether it holds the lock still. For tests that stop it, or end its connections.
 *
 * @module
 */
import { connect, getLock, type Mode } from "@lockmgr/lockmgr";
import process from "node:process";
import postgres from "postgres";

const [url, mode, table, name, expires] = process.argv.slice(2);
const say = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
const backend = await connect(url, { mode: mode as Mode, table });
const sql = postgres(url, { max: 1, max_lifetime: null });
await sql`SELECT`;
const lock = await getLock(name, { backend, wait: 60, expires: Number(expires) });
const deadline = performance.now() + lock.expiresIn! * 1e3;
const [{ left }] = await sql.unsafe(
  `SELECT date_part('epoch', locked_until - clock_timestamp()) * 1000 AS left FROM ${table} WHERE name = $1`,
  [name],
);
say({ token: String(lock.token), held: lock.held, excess: deadline - (performance.now() + left) });
process.stdin.on("data", async () => {
  say({ held: lock.held, verified: await lock.verify().catch(() => false) });
  await lock.unlock().catch(() => {});
  await backend[Symbol.asyncDispose]();
  await sql.end();
  process.exit(0);
});
