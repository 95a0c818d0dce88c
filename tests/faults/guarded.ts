/**
 * Transactions that keep the rows of locks, as programs have them that fence their writes.
 *
 * @module
 */
import type { Lock } from "@lockmgr/lockmgr";
import { createConnection } from "mysql2/promise";
import pg from "pg";

/** Runs `work` while a transaction of the program's own guards a lock. Whatever befalls the connection is none of it. */
export async function whileGuarded(target: string, lock: Lock, work: () => Promise<void>): Promise<void> {
  let worked = false;
  const guard = async (client: unknown) => {
    await lock.guard(client);
    worked = true;
    await work();
  };
  try {
    await (target.startsWith("postgres") ? onPostgres : onMysql)(target, guard);
  } catch { // the lock was lost, or the connection
    if (!worked) await work();
  }
}

async function onPostgres(target: string, guard: (client: unknown) => Promise<void>): Promise<void> {
  const client = new pg.Client(target);
  client.on("error", () => {}); // each statement says so too
  try {
    await client.connect();
    await client.query("BEGIN");
    await guard(client);
    await client.query("COMMIT");
  } finally {
    await client.end().catch(() => {});
  }
}

async function onMysql(target: string, guard: (client: unknown) => Promise<void>): Promise<void> {
  const connection = await createConnection(target);
  connection.on("error", () => {});
  try {
    await connection.beginTransaction();
    await guard(connection);
    await connection.commit();
  } finally {
    connection.destroy();
  }
}
