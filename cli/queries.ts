/**
 * Looking at one name.
 *
 * @module
 */
import process from "node:process";
import { recordLine } from "./formats/record.ts";
import { toJson } from "./formats/text.ts";
import { type Backend, getLock, listLocks, Locked, type LockRecord, unlock } from "../mod.ts";

/** The record of a name; `undefined` when nobody holds it. */
export async function find(backend: Backend, name: string, includeExpired = false): Promise<LockRecord | undefined> {
  const records = await listLocks({ backend, prefix: name, includeExpired });
  return records.find((record) => record.name === name);
}

/** Looks at least so often (ms), in case that nothing wakes us. */
const LOOK = 1_000;

/**
 * Waits until nobody holds a name, without taking it.
 *
 * @returns The lock that is still there when the time (in seconds) is over; `undefined` when the name is free.
 */
export async function untilFree(
  backend: Backend,
  name: string,
  wait: number,
  signal: AbortSignal,
): Promise<LockRecord | undefined> {
  const deadline = performance.now() + wait * 1e3;
  let rung = false;
  let ring = () => {};
  const watching = await backend.watch?.(name, () => {
    rung = true;
    ring();
  });
  const wake = () => ring();
  signal.addEventListener("abort", wake);
  try {
    for (;;) {
      signal.throwIfAborted();
      rung = false;
      const record = await find(backend, name);
      const left = deadline - performance.now();
      if (record === undefined || left <= 0) return record;
      if (rung || signal.aborted) continue;
      const expiry = record.expiresIn === null ? Infinity : record.expiresIn * 1e3 + 1;
      await pause(Math.min(left, expiry, LOOK), (resolve) => ring = resolve);
    }
  } finally {
    signal.removeEventListener("abort", wake);
    watching?.[Symbol.dispose]();
  }
}

/** So many milliseconds, or until what `ringing` was given is called. */
async function pause(time: number, ringing: (ring: () => void) => void): Promise<void> {
  let timer;
  await new Promise<void>((resolve) => {
    ringing(resolve);
    timer = setTimeout(resolve, Math.max(0, time));
  });
  clearTimeout(timer);
}

/** A wait that takes longer (ms) is told of. */
const SILENCE = 1_000;

/** Tells the person at a terminal what is waited for, once it takes a while; until disposal. */
export function tellOfWaiting(backend: Backend, name: string, tell: (text: string) => void): Disposable {
  let over = process.stderr.isTTY !== true;
  const timer = setTimeout(async () => {
    // Whoever waits is told of a broken database by the wait itself.
    const record = over ? undefined : await find(backend, name).catch(() => undefined);
    const holder = record === undefined ? "" : `: ${recordLine(record)}`;
    if (!over) tell(`lockmgr: Waiting for lock ${toJson(name)}${holder}`);
  }, SILENCE);
  return {
    [Symbol.dispose]: () => {
      over = true;
      clearTimeout(timer);
    },
  };
}

/** Waits until a session lock can be had: it has no row to look at, so it is taken for a moment. */
export async function untilHad(backend: Backend, name: string, wait: number, signal: AbortSignal): Promise<boolean> {
  try {
    await unlock(await getLock(name, { backend, wait, signal }));
    return true;
  } catch (error) {
    if (error instanceof Locked) return false;
    throw error;
  }
}
