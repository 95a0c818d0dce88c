/**
 * Queries about one lock.
 *
 * @module
 */
import process from "node:process";
import { recordLine } from "./formats/record.ts";
import { toJson } from "./formats/text.ts";
import { type Backend, getLock, listLocks, Locked, type LockRecord, unlock } from "../mod.ts";

/** Returns the record of a name; `undefined` when it is free. */
export async function find(backend: Backend, name: string, includeExpired = false): Promise<LockRecord | undefined> {
  return (await listLocks({ backend, names: [name], includeExpired }))[0];
}

/** The longest pause between two queries of a waiter (ms). */
const POLL_INTERVAL_MS = 1_000;

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
  const deadline = performance.now() + wait * 1e3;
  let notified = false;
  let notify = () => {};
  const watching = await backend.watch?.(name, () => {
    notified = true;
    notify();
  });
  const wake = () => notify();
  signal.addEventListener("abort", wake);
  try {
    for (;;) {
      signal.throwIfAborted();
      notified = false;
      const record = await find(backend, name);
      const left = deadline - performance.now();
      if (record === undefined || left <= 0) return record;
      if (notified || signal.aborted) continue;
      const expiry = record.expiresIn === null ? Infinity : record.expiresIn * 1e3 + 1;
      await pause(Math.min(left, expiry, POLL_INTERVAL_MS), (resolve) => notify = resolve);
    }
  } finally {
    signal.removeEventListener("abort", wake);
    watching?.[Symbol.dispose]();
  }
}

/** Waits so many milliseconds, or until the function that `onStart` is given is called. */
async function pause(time: number, onStart: (end: () => void) => void): Promise<void> {
  let timer;
  await new Promise<void>((resolve) => {
    onStart(resolve);
    timer = setTimeout(resolve, Math.max(0, time));
  });
  clearTimeout(timer);
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
