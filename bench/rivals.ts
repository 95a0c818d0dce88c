/**
 * What a user would take instead, as its own manual shows it. Under Deno only, which alone finds these packages.
 *
 * @module
 */
import { Verrou } from "@verrou/core";
import { KyselyAdapter, kyselyStore } from "@verrou/core/drivers/kysely";
import { redisStore } from "@verrou/core/drivers/redis";
import advisoryLock from "advisory-lock";
import { Redis } from "ioredis";
import { Kysely, PostgresDialect } from "kysely";
import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import lockfile from "proper-lockfile";
import Redlock from "redlock";
import { Mutex, Semaphore } from "redis-semaphore";
import type { Contestant, Release } from "./contestants.ts";
import type { Places } from "./places.ts";

/** A Redis client with its bare round trip. */
export interface RedisFloor extends AsyncDisposable {
  ping(): Promise<unknown>;
  /** What it says of itself. */
  info(): Promise<string>;
}

/** The bare round trip to Redis. */
export function openRedisFloor(url: string): RedisFloor {
  const client = new Redis(url);
  return {
    ping: () => client.ping(),
    info: () => client.info(),
    [Symbol.asyncDispose]: () => client.quit().then(() => {}),
  };
}

/** How long a rival's lock lasts (ms): as long as ours by default. */
const LEASE = 600_000;
/** How long Verrou waits between two tries by default (ms). */
const VERROU_RETRY = 250;

/** npm redlock on one Redis; it waits by asking again every 200 ms, and a little more by chance. */
function openRedlock(url: string): Contestant {
  const client = new Redis(url);
  const redlock = new Redlock([client as never]);
  const once = new Redlock([client as never], { retryCount: 0 });
  const keyOf = (name: string) => `redlock:${name}`;
  return {
    label: "redlock",
    take: async (name) => {
      const lock = await redlock.lock(keyOf(name), LEASE);
      return () => lock.unlock();
    },
    wait: async (name, signal) => {
      for (;;) {
        signal.throwIfAborted();
        try {
          const lock = await redlock.lock(keyOf(name), LEASE);
          return () => lock.unlock();
        } catch (error) {
          if ((error as Error).name !== "LockError") throw error; // it has given up: ask again
        }
      }
    },
    tries: (name) =>
      once.lock(keyOf(name), LEASE).then(() => true, (error: Error) => {
        if (error.name !== "LockError") throw error;
        return false;
      }),
    [Symbol.asyncDispose]: () => client.quit().then(() => {}),
  };
}

/** npm redis-semaphore's mutex, and its semaphore where several may hold a name; it waits by asking again every 10 ms. */
function openRedisSemaphore(url: string): Contestant {
  const client = new Redis(url);
  const options = { lockTimeout: LEASE, acquireTimeout: 60_000, refreshInterval: 0 };
  const take = async (name: string, limit = 1) => {
    const lock = limit === 1
      ? new Mutex(client as never, name, options)
      : new Semaphore(client as never, name, limit, options);
    await lock.acquire();
    return () => lock.release();
  };
  return {
    label: "redis-semaphore",
    take: (name) => take(name),
    wait: (name, _, sharing) => take(name, sharing?.limit),
    tries: (name) =>
      new Mutex(client as never, name, { ...options, acquireAttemptsLimit: 1, retryInterval: 0 }).tryAcquire(),
    [Symbol.asyncDispose]: () => client.quit().then(() => {}),
  };
}

/** npm proper-lockfile: a directory made beside the file. */
function openProperLockfile(directory: string): Contestant {
  const take = (name: string) => lockfile.lock(`${directory}/${name}`, { realpath: false });
  return { label: "proper-lockfile", take, wait: take, [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** What npm advisory-lock is, as far as it is used here. */
type OpenAdvisoryLock = (url: string) => (name: string) => { tryLock(): Promise<Release | undefined> };

/** npm advisory-lock: a connection to PostgreSQL for each lock. */
function openAdvisoryLock(url: string): Contestant {
  const { default: open } = advisoryLock as unknown as { default: OpenAdvisoryLock }; // a module of the older kind
  const of = open(url);
  const take = async (name: string) => {
    const unlock = await of(name).tryLock();
    if (unlock === undefined) throw new Error(`Cannot take "${name}": it is held`);
    return unlock;
  };
  return { label: "advisory-lock", take, wait: take, [Symbol.asyncDispose]: () => Promise.resolve() };
}

/** npm @verrou/core on one of its stores; it waits by asking again every 250 ms, which a signal can end here. */
function verrou(label: string, driver: ReturnType<typeof redisStore | typeof kyselyStore>, close: () => unknown) {
  const locks = new Verrou({ default: "only", stores: { only: { driver } } });
  const wait = async (name: string, signal?: AbortSignal): Promise<Release> => {
    const lock = locks.createLock(name, LEASE);
    while (!await lock.acquireImmediately()) await delay(VERROU_RETRY, undefined, { signal });
    return () => lock.release();
  };
  return {
    label,
    take: (name: string) => wait(name),
    wait,
    tries: (name: string) => locks.createLock(name, LEASE).acquireImmediately(),
    [Symbol.asyncDispose]: async () => void await close(),
  };
}

function openVerrouOnRedis(url: string): Contestant {
  const client = new Redis(url);
  return verrou("Verrou on Redis", redisStore({ connection: client as never }), () => client.quit());
}

async function openVerrouOnPostgres(url: string): Promise<Contestant> {
  const connection = new Kysely<unknown>({
    dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url }) }),
  });
  const table = new KyselyAdapter(connection);
  table.setTableName("verrou");
  await table.createTableIfNotExists().catch(() => {}); // another process has just created it
  const store = kyselyStore({ connection, autoCreateTable: false });
  return verrou("Verrou on PostgreSQL", store, () => connection.destroy());
}

/** How each rival is opened that can run here, by its label. */
export function rivalsOn(
  { redis, postgres, directory }: Places,
): Readonly<Record<string, () => Contestant | Promise<Contestant>>> {
  return {
    ...redis && {
      "redlock": () => openRedlock(redis),
      "redis-semaphore": () => openRedisSemaphore(redis),
      "Verrou on Redis": () => openVerrouOnRedis(redis),
    },
    ...postgres && {
      "Verrou on PostgreSQL": () => openVerrouOnPostgres(postgres),
      "advisory-lock": () => openAdvisoryLock(postgres),
    },
    "proper-lockfile": () => openProperLockfile(directory),
  };
}

/** The rivals that can wait for a name. */
export async function openWaitingRivals(places: Places): Promise<Contestant[]> {
  const labels = Object.entries(rivalsOn(places)).filter(([label]) =>
    !["advisory-lock", "proper-lockfile"].includes(label)
  );
  return await Promise.all(labels.map(([, open]) => open()));
}
