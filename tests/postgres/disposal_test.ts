/** A disposal cancels the statements that are still running at the server, also on the caller's clients. */
import { type Backend, BackendError, connect, getLock, tryLock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import pg from "pg";
import postgres from "postgres";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** Opens a backend on a URL, and closes what it was made from. */
type Open = (url: string, table: string) => Promise<{ backend: Backend; end(): Promise<unknown> }>;

/** The backend's targets. */
const TARGETS: Record<string, Open> = {
  "a URL": async (url, table) => ({ backend: await connect(url, { table }), end: () => Promise.resolve() }),
  "a sql instance": async (url, table) => {
    const sql = postgres(url, { max_lifetime: null, max: 3, onnotice: () => {} });
    return { backend: await postgresBackend(sql, { table }), end: () => sql.end({ timeout: 1 }) };
  },
  "a pool of node-postgres": async (url, table) => {
    const pool = new pg.Pool({ connectionString: url, max: 3 });
    return { backend: await postgresBackend(pool, { table }), end: () => pool.end() };
  },
};

for (const [target, open] of Object.entries(TARGETS)) {
  for (const delay of [0, 60]) {
    const where = delay === 0 ? "" : `, ${2 * delay} ms away,`;
    test(`lease, through ${target}: a statement behind a table lock${where} acquires nothing after a disposal`, async () => {
      const table = freshTable();
      await using sql = administrator();
      await using proxy = await Proxy.start(server.port);
      const { backend, end } = await open(`postgres://postgres@127.0.0.1:${proxy.port}/postgres`, table);
      await (await getLock("warm", { backend })).unlock();
      proxy.delay = delay;
      const running = `SELECT FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%${table}%'
        AND pid <> pg_backend_pid()`;
      const isRunning = async () => (await sql.unsafe(running)).length > 0;
      const { outcome } = await sql.begin(async (tx) => {
        await tx.unsafe(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
        const outcome = tryLock("a", { backend }).catch((error) => error);
        await until("it waits for the table", isRunning);
        await backend[Symbol.asyncDispose]();
        return { outcome };
      });
      assert(await outcome instanceof BackendError);
      await until("nothing is being run", async () => !await isRunning());
      assert.deepEqual([...await sql.unsafe(`SELECT name FROM ${table} WHERE owner IS NOT NULL`)], []);
      await end();
    });
  }
}
