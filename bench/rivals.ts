/**
 * What a user would take instead, as its own manual shows it. Under Deno only, which alone finds these packages.
 *
 * @module
 */
import advisoryLock from "advisory-lock";
import { Redis } from "ioredis";
import lockfile from "proper-lockfile";
import Redlock from "redlock";
import { Mutex } from "redis-semaphore";
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

/** How long a lock on Redis lasts (ms). */
const LEASE = 60_000;

/** npm redlock on one Redis; it waits by asking again every 200 ms, and a little more by chance. */
export function openRedlock(url: string): Contestant {
  const client = new Redis(url);
  const redlock = new Redlock([client as never]);
  return {
    label: "redlock",
    take: async (name) => {
      const lock = await redlock.lock(`redlock:${name}`, LEASE);
      return () => lock.unlock();
    },
    wait: async (name, signal) => {
      for (;;) {
        signal.throwIfAborted();
        try {
          const lock = await redlock.lock(`redlock:${name}`, LEASE);
          return () => lock.unlock();
        } catch (error) {
          if ((error as Error).name !== "LockError") throw error; // it has given up: ask again
        }
      }
    },
    [Symbol.asyncDispose]: () => client.quit().then(() => {}),
  };
}

/** npm redis-semaphore's mutex; it waits by asking again every 10 ms. */
export function openRedisSemaphore(url: string): Contestant {
  const client = new Redis(url);
  const options = { lockTimeout: LEASE, acquireTimeout: LEASE, refreshInterval: 0 };
  const take = async (name: string) => {
    const mutex = new Mutex(client as never, name, options);
    await mutex.acquire();
    return () => mutex.release();
  };
  return { label: "redis-semaphore", take, wait: take, [Symbol.asyncDispose]: () => client.quit().then(() => {}) };
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

/** The rivals on Redis. */
export function openRedisRivals(url: string): Contestant[] {
  return [openRedlock(url), openRedisSemaphore(url)];
}

/** All rivals that can run here. */
export function openRivals({ redis, postgres, directory }: Places): Contestant[] {
  return [
    ...redis === undefined ? [] : openRedisRivals(redis),
    ...postgres === undefined ? [] : [openAdvisoryLock(postgres)],
    openProperLockfile(directory),
  ];
}
