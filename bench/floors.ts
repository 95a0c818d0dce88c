/**
 * What no lock on an engine can pass: the driver's bare round trip, one durable upsert, the server's own lock with a
 * queue in each process, and the runtime's own lock within one process.
 *
 * @module
 */
import { createConnection } from "mysql2/promise";
import postgres from "postgres";
import { openDatabase } from "../backends/sqlite/connection/driver.ts";
import type { Contestant, Release, Sharing } from "./contestants.ts";
import { type Engine, labels, type Places } from "./places.ts";

/** The least that an engine does. */
export interface Floor extends AsyncDisposable {
  /** Asks for nothing. */
  roundTrip(): unknown;
  /** Changes one row, durably. */
  upsert(): unknown;
}

async function postgresFloor(url: string): Promise<Floor> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  await sql`CREATE TABLE IF NOT EXISTS bare (name text PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 50)`;
  let value = 0;
  return {
    roundTrip: () => sql`SELECT 1`,
    upsert: () =>
      sql`INSERT INTO bare VALUES ('jobs', ${++value}) ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    [Symbol.asyncDispose]: () => sql.end(),
  };
}

async function mysqlFloor(url: string): Promise<Floor> {
  const connection = await createConnection(url);
  await connection.query("CREATE TABLE IF NOT EXISTS bare (name VARBINARY(255) PRIMARY KEY, value BIGINT NOT NULL)");
  let value = 0;
  return {
    roundTrip: () => connection.execute("SELECT 1"),
    upsert: () =>
      connection.execute("INSERT INTO bare VALUES ('jobs', ?) ON DUPLICATE KEY UPDATE value = VALUES(value)", [
        ++value,
      ]),
    [Symbol.asyncDispose]: () => connection.end(),
  };
}

async function sqliteFloor(directory: string): Promise<Floor> {
  const database = await openDatabase(`${directory}/bare.db`, "node:sqlite");
  database.exec("PRAGMA journal_mode = WAL");
  database.exec("PRAGMA synchronous = FULL");
  database.exec("CREATE TABLE IF NOT EXISTS bare (name TEXT PRIMARY KEY, value INTEGER NOT NULL)");
  const nothing = database.prepare("SELECT 1");
  const upsert = database.prepare(
    "INSERT INTO bare VALUES ('jobs', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
  );
  let value = 0;
  return {
    roundTrip: () => nothing.get(),
    upsert: () => upsert.run(++value),
    [Symbol.asyncDispose]: () => Promise.resolve(database.close()).then(() => {}),
  };
}

/** The floor of an engine. */
export function openFloor(places: Places, engine: Engine): Promise<Floor> {
  if (engine === "sqlite") return sqliteFloor(places.directory);
  return engine === "postgres" ? postgresFloor(places.postgres!) : mysqlFloor(places[engine]!);
}

/** The server's own lock in SQL; the second word is whether it is shared. */
type Ask = (name: string, shared: boolean) => Promise<unknown>;

/** The first in a process's own queue asks the server, as a program would that was written for this alone. */
function queued(label: string, lock: Ask, unlock: Ask) {
  let last: Promise<void> = Promise.resolve();
  const take = async (name: string, _?: AbortSignal, { shared = false }: Sharing = {}): Promise<Release> => {
    const before = last;
    let next!: () => void;
    last = new Promise((resolve) => next = resolve);
    await before;
    await lock(name, shared);
    return async () => {
      await unlock(name, shared);
      next();
    };
  };
  return { label, take: (name: string) => take(name), wait: take };
}

/** The server's own lock, bare: one connection for each process. */
export async function openBareLock(places: Places, engine: Exclude<Engine, "sqlite">): Promise<Contestant> {
  if (engine === "postgres") {
    const sql = postgres(places.postgres!, { max: 1 });
    return {
      ...queued(
        "pg_advisory_lock, bare",
        (name, shared) =>
          shared
            ? sql`SELECT pg_advisory_lock_shared(hashtext(${name}))`
            : sql`SELECT pg_advisory_lock(hashtext(${name}))`,
        (name, shared) =>
          shared
            ? sql`SELECT pg_advisory_unlock_shared(hashtext(${name}))`
            : sql`SELECT pg_advisory_unlock(hashtext(${name}))`,
      ),
      [Symbol.asyncDispose]: () => sql.end(),
    };
  }
  const connection = await createConnection(places[engine]!);
  return {
    ...queued(
      `GET_LOCK of ${labels[engine]}, bare`,
      (name) => connection.execute("SELECT GET_LOCK(?, 100)", [name]),
      (name) => connection.execute("SELECT RELEASE_LOCK(?)", [name]),
    ),
    [Symbol.asyncDispose]: () => connection.end(),
  };
}

/** The part of the runtime's Web Locks that is used here; Bun has none. */
interface WebLocks {
  request<T>(name: string, options: { ifAvailable?: boolean }, run: (lock: unknown) => T | Promise<T>): Promise<T>;
}

/** The runtime's own locks, which reach no other process. */
export const WEB_LOCKS = "navigator.locks";

/** Whether a runtime has them, by its name. */
export function hasWebLocks(runtime: string): boolean {
  return runtime !== "Bun";
}

/** Opens the runtime's own locks. */
export function openWebLocks(): Contestant {
  const { locks } = navigator as unknown as { locks: WebLocks };
  const take = (name: string) =>
    new Promise<Release>((resolve, reject) => {
      const held = () => new Promise<void>((release) => resolve(release));
      locks.request(name, {}, held).catch(reject);
    });
  return {
    label: WEB_LOCKS,
    take,
    wait: take,
    tries: (name) => locks.request(name, { ifAvailable: true }, (lock) => lock !== null),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
