/**
 * The server of the tests in this folder, and what they ask it behind the library's back.
 *
 * @module
 */
import postgres from "postgres";
import { PostgresServer } from "../servers/postgres.ts";

/** One server for the tests of a file. Those that stop it or change its settings start one of their own. */
export const server: PostgresServer = await PostgresServer.start();

/** A client of the superuser, closed on disposal. */
export function administrator(url: string = server.url, prepare = true): postgres.Sql & AsyncDisposable {
  const sql = postgres(url, { max_lifetime: null, onnotice: () => {}, max: 3, prepare });
  return Object.assign(sql, { [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) });
}

let tables = 0;

/** A table that no other test uses. */
export function freshTable(): string {
  return `test_${tables++}`;
}

/** The connections on which waiters are notified of releases. */
export async function listeners(sql: postgres.Sql): Promise<number[]> {
  const rows = await sql`
    SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_advisory_lock(hashtextextended(''lockmgr%'
    UNION SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted`;
  return rows.map(({ pid }) => pid);
}

/** The channel on which the first waiter for a name listens, once it does. */
export async function channelOf(sql: postgres.Sql, table: string, name: string): Promise<string> {
  let channel: string | null | undefined;
  await until("a waiter listens", async () => {
    const [row] = await sql.unsafe(`SELECT line[1]->>'listener' AS channel FROM ${table} WHERE name = $1`, [name]);
    channel = row?.channel;
    return channel != null;
  });
  return channel!;
}

/** Waits for something that will be so, looking often; says what when it never is. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, seconds = 10): Promise<void> {
  const deadline = performance.now() + seconds * 1e3;
  while (!await holds()) {
    if (performance.now() > deadline) throw new Error(`Not so after ${seconds} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Whether a statement about a table waits for a lock of another transaction. */
export async function isWaiting(sql: postgres.Sql, table: string): Promise<boolean> {
  const waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'";
  return (await sql.unsafe(waiting, [table])).length > 0;
}

/** Waits until a statement about a table has waited for a locked row, and was refused it. */
export async function refusal(sql: postgres.Sql, table: string): Promise<void> {
  await until("a statement waits for the row", () => isWaiting(sql, table));
  await until("it was refused", async () => !await isWaiting(sql, table));
}
