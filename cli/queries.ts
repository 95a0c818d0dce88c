/**
 * Queries about one lock.
 *
 * @module
 */
import process from "node:process";
import { recordLine } from "./formats/record.ts";
import { toJson } from "./formats/text.ts";
import { type Backend, getLock, listLocks, Locked, type LockRecord, unlock, watchLocks } from "../mod.ts";

/** Returns the record of a name's first holder; `undefined` when it is free. */
async function find(backend: Backend, name: string): Promise<LockRecord | undefined> {
  return (await listLocks({ backend, names: [name] }))[0];
}

/** A timer with a longer delay fires at once. */
const LONGEST_TIMER_MS = 2 ** 31;

/**
 * Waits until a lock is free, without acquiring it.
 *
 * @param wait The longest wait in seconds.
 * @returns The lock that is still held then; `undefined` when the name is free.
 */
export async function untilFree(
  backend: Backend,
  name: string,
  wait: number,
  signal: AbortSignal,
): Promise<LockRecord | undefined> {
  const over = new AbortController();
  const timer = wait * 1e3 < LONGEST_TIMER_MS ? setTimeout(() => over.abort(), wait * 1e3) : undefined;
  try {
    for await (
      const { holders } of watchLocks({ backend, names: [name], signal: AbortSignal.any([signal, over.signal]) })
    ) {
      if (holders.length === 0) return undefined;
    }
  } finally {
    clearTimeout(timer);
  }
  signal.throwIfAborted();
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
  try {
    await unlock(await getLock(name, { backend, wait, signal }));
    return true;
  } catch (error) {
    if (error instanceof Locked) return false;
    throw error;
  }
}
