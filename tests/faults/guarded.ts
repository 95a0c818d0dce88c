/**
 * Transactions that keep the rows of locks, as programs have them that fence their writes.
 *
 * @module
 */
import type { Lock } from "@lockmgr/lockmgr";
import { createConnection } from "mysql2/promise";
import pg from "pg";

/** A connection on which nothing is answered any more is destroyed after so long (ms). */
const LONGEST = 3_000;

/** A connection of the program's own. */
interface Client {
  query(text: string): Promise<unknown>;
  destroy(): void;
}

async function connectPostgres(target: string): Promise<Client> {
  const client = new pg.Client({ connectionString: target, connectionTimeoutMillis: LONGEST });
  client.on("error", () => {}); // each statement says so too
  await client.connect();
  const { stream } = (client as unknown as { connection: { stream: { destroy(): void } } }).connection;
  return Object.assign(client, { destroy: () => stream.destroy() });
}

async function connectMysql(target: string): Promise<Client> {
  const connection = await createConnection({ uri: target, connectTimeout: LONGEST });
  connection.on("error", () => {});
  return connection;
}

/** Runs `work` while a transaction of the program's own guards a lock. Whatever befalls the connection is none of it. */
export async function whileGuarded(target: string, lock: Lock, work: () => Promise<void>): Promise<void> {
  let client: Client | undefined;
  let worked = false;
  let timer: ReturnType<typeof setTimeout>;
  const silence = new Promise<never>((_, reject) => timer = setTimeout(reject, LONGEST));
  silence.catch(() => {});
  const answered = <T>(answer: Promise<T>) => Promise.race([answer, silence]); // `destroy` of mysql2 ends no query
  try {
    client = await (target.startsWith("postgres") ? connectPostgres : connectMysql)(target);
    await answered(client.query("BEGIN"));
    await answered(lock.guard(client));
    worked = true;
    await work();
    await answered(client.query("COMMIT"));
  } catch { // the lock was lost, or the connection
    if (!worked) await work();
  } finally {
    clearTimeout(timer!);
    client?.destroy();
  }
}
