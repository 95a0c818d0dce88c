/**
 * Queries about one lock.
 *
 * @module
 */
import process from "node:process";
import { setTimeout as pause } from "node:timers/promises";
import { LONGEST_TIMER_MS } from "./deadline.ts";
import { recordLine } from "./formats/record.ts";
import { toJson } from "./formats/text.ts";
import {
  type Backend,
  BackendError,
  listLocks,
  type LockChange,
  type LockRecord,
  tryLock,
  watchLocks,
  type WatchOptions,
} from "../mod.ts";

/** Returns the record of a name's first holder; `undefined` when it is free. */
async function find(backend: Backend, name: string): Promise<LockRecord | undefined> {
  return (await listLocks({ backend, names: [name] }))[0];
}

/**
 * The changes of some locks. A database that fails is queried again after `interval` seconds, and its error is one of
 * them; one that refuses the first query ends them.
 */
export async function* changesOf(
  options: WatchOptions & { signal: AbortSignal; interval: number },
): AsyncGenerator<LockChange | BackendError, void> {
  const { signal, interval } = options;
  const changes = watchLocks(options)[Symbol.asyncIterator]();
  try {
    for (let first = true; !signal.aborted; first = false) {
      const change = await changes.next().catch((error) => {
        if (!(error instanceof BackendError) || (first && !error.retryable)) throw error;
        return { done: false, value: error } as const;
      });
      if (change.done) return;
      yield change.value;
      if (change.value instanceof BackendError) await pause(interval * 1e3, undefined, { signal }).catch(() => {});
    }
  } finally {
    await changes.return?.();
  }
}

/** The longest time between two queries (s). */
const INTERVAL_S = 0.25;

/**
 * Waits until a lock is free, without acquiring it. It waits out an outage, too.
 *
 * @param wait The longest wait in seconds.
 * @returns The lock that is still held then; `undefined` when the name is free.
 */
export async function untilFree(
  backend: Backend,
  name: string,
  wait: number,
  stop: AbortSignal,
): Promise<LockRecord | undefined> {
  const over = new AbortController();
  const timer = wait * 1e3 <= LONGEST_TIMER_MS ? setTimeout(() => over.abort(), wait * 1e3) : undefined;
  const signal = AbortSignal.any([stop, over.signal]);
  try {
    for await (const change of changesOf({ backend, names: [name], interval: INTERVAL_S, signal })) {
      if (!(change instanceof BackendError)) {
        if (change.holders.length === 0) return undefined;
      } else if (!change.retryable) throw change;
    }
  } finally {
    clearTimeout(timer);
  }
  stop.throwIfAborted();
  return await find(backend, name);
}

/** A longer wait (ms) is announced. */
const QUIET_MS = 1_000;

/** Announces on a terminal that the command waits, after a while and until disposal. */
export function announceWait(backend: Backend, name: string, announce: (text: string) => void): Disposable {
  let over = process.stderr.isTTY !== true;
  const timer = setTimeout(async () => {
    // The wait itself reports a database that fails.
    const record = over ? undefined : await find(backend, name).catch(() => undefined);
    const holder = record === undefined ? "" : `: ${recordLine(record)}`;
    if (!over) announce(`lockmgr: Waiting for lock ${toJson(name)}${holder}`);
  }, QUIET_MS);
  return {
    [Symbol.dispose]: () => {
      over = true;
      clearTimeout(timer);
    },
  };
}

/** Waits until a session lock can be acquired: it has no row to read, so it is held for a moment. */
export async function untilAcquired(
  backend: Backend,
  name: string,
  wait: number,
  signal: AbortSignal,
): Promise<boolean> {
  const lock = await tryLock(name, { backend, wait, signal });
  await lock?.unlock();
  return lock !== undefined;
}
