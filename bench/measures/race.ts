/**
 * One process of four that take random overlapping sets of names, as long as they are told.
 *
 * @module
 */
import { type Backend, BackendError, type Lock, LockFail, type Mode, setLock, tryLock, unlock } from "../../mod.ts";
import { sharedClock } from "../../tests/history/clock.ts";
import { open } from "../contestants.ts";
import type { Engine, Places } from "../places.ts";

/** What to do. */
export interface RaceOrder {
  readonly places: Places;
  readonly engine: Engine;
  readonly mode: Mode;
  /** How long (ms). */
  readonly milliseconds: number;
}

/** What came of a race in one process. */
export interface Raced {
  /** Sets of names that were asked for. */
  sets: number;
  /** Releases that found the lock gone. */
  lost: number;
  /** Errors of the database. */
  errors: string[];
  /** Each hold: the name, from when it was known, until its release was called (µs), and its token. */
  holds: [name: string, from: number, until: number, token: string][];
}

/** So many names are fought for; a tenth of each set is new. */
const NAMES = 60;
const FRESH = 0.1;

/** Between 5 and 44 names in any order. */
function choose(): string[] {
  const names = Array.from({ length: NAMES }, (_, index) => `race ${index}`);
  for (let index = NAMES - 1; index > 0; index--) {
    const other = Math.floor(Math.random() * (index + 1));
    [names[index], names[other]] = [names[other], names[index]];
  }
  return names.slice(0, 5 + Math.floor(Math.random() * 40))
    .map((name) => Math.random() < FRESH ? `race ${crypto.randomUUID()}` : name);
}

/** All or nothing in one statement, or each name by itself in statements that the library makes of many callers. */
async function take(names: readonly string[], backend: Backend): Promise<Lock[]> {
  const together = backend.mode !== "session" && Math.random() < 0.5;
  if (!together) {
    return (await Promise.all(names.map((name) => tryLock(name, { backend })))).filter((lock) => lock !== undefined);
  }
  try {
    return (await setLock(names, { backend, fail: true, expires: 60 })).locks as Lock[];
  } catch (error) {
    if (error instanceof LockFail) return [];
    throw error;
  }
}

async function loop(backend: Backend, end: number, said: Raced): Promise<void> {
  while (performance.now() < end) {
    try {
      const locks = await take(choose(), backend);
      const from = sharedClock();
      said.sets++;
      await new Promise((resolve) => setTimeout(resolve, 1));
      for (const { name, token } of locks) said.holds.push([name, from, sharedClock(), String(token)]);
      const released = await Promise.all(locks.map((lock) => unlock(lock)));
      said.lost += released.filter((done) => !done).length;
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      said.errors.push(error.message);
    }
  }
}

/** Races, in two loops at once. */
export async function race({ places, engine, mode, milliseconds }: RaceOrder): Promise<Raced> {
  const backend = await open(places, engine, mode);
  const said: Raced = { sets: 0, lost: 0, errors: [], holds: [] };
  const end = performance.now() + milliseconds;
  try {
    await Promise.all([loop(backend, end, said), loop(backend, end, said)]);
  } finally {
    await backend[Symbol.asyncDispose]();
  }
  return said;
}
