import type { Backend, Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";

/** The clients of one store, for one case. */
export interface Fixture extends AsyncDisposable {
  /** The first client. */
  readonly backend: Backend;
  /** Opens a further client, as another process would have it. Closed with the fixture. */
  another(): Promise<Backend>;
}

/** What is known of the backend under test. */
export interface Subject {
  /** How it keeps its locks. */
  readonly mode: Mode;
  /** Whether it lists expired locks until they are cleaned away. */
  readonly expiredRows: boolean;
  /** Removes all locks from the store and makes a further fixture on it. */
  open(): Promise<Fixture>;
}

/** What a backend may do beyond the least. */
export type Capability = "queueing" | "keeping" | "adopting";

/** Returns what a backend does beyond the least. */
export function capabilitiesOf(
  { mode, queueing = false, keeping = false, adopt }: Backend,
): Record<Capability, boolean> {
  return { queueing, keeping, adopting: mode === "lease" && adopt !== undefined };
}

/** One promise, checked on one fixture. */
export interface Case {
  /** What holds, as a sentence. */
  readonly name: string;
  /** Whether it needs rows (`lease` and `hybrid`), or holds in every mode. */
  readonly rows: boolean;
  /** Whether a pause of the process may lose its leases: then it runs again. @default false */
  readonly renews?: boolean;
  /** What else it needs of the backend. @default nothing */
  readonly needs?: Capability;
  /** Checks it; rejects when it is broken. */
  readonly run: (fixture: Fixture, subject: Subject) => Promise<void>;
}

/** A case of every mode. */
export function always(name: string, run: Case["run"]): Case {
  return { name, rows: false, run };
}

/** A case of the modes that keep rows. */
export function withRows(name: string, run: Case["run"]): Case {
  return { name, rows: true, run };
}

/** A case of rows whose leases a pause of the process may lose. */
export function withRenewals(name: string, run: Case["run"]): Case {
  return { ...withRows(name, run), renews: true };
}

/** A case of the backends that keep a queue. */
export function withQueue(name: string, run: Case["run"]): Case {
  return { ...withRows(name, run), needs: "queueing" };
}

/** A case of the backends that serve `holdAtLeast`. */
export function withKeeping(name: string, run: Case["run"]): Case {
  return { ...withRows(name, run), needs: "keeping" };
}

/** A case of the backends whose locks can be handed over to another process. */
export function withAdoption(name: string, run: Case["run"]): Case {
  return { ...withRows(name, run), needs: "adopting" };
}

/** Resolves when the signal aborts, with its reason. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason);
  // The listener alone would not keep the process alive until the event.
  const alive = setInterval(() => {}, 1_000);
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => {
      clearInterval(alive);
      resolve(signal.reason);
    }, { once: true })
  );
}

/** A lease (s) that is renewed every second, and that is not lost when the machine pauses for two. */
export const RENEWED = 3.2;

/** A pause (ms) that may lose such a lease: one of 2,100 does, and a shorter one if the server pauses too. */
export const LOSING_PAUSE_MS = 1_500;

/** Resolves when the database has given each of the names more time twice: what comes once may never come again. */
export async function renewedTwice(backend: Backend, ...names: string[]): Promise<void> {
  const changes = new Map(names.map((name) => [name, new Set<number | null>()]));
  while ([...changes.values()].some(({ size }) => size < 3)) {
    const rows = await backend.list({ names });
    if (rows.length < names.length) throw new Error(`Only ${rows.length} of ${names.length} locks are held still`);
    for (const { name, lockedUntil } of rows) changes.get(name)!.add(lockedUntil);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Watches for pauses of this process that are longer than `pauseMs`. */
export function watchPauses(pauseMs = 200): Disposable & { paused(): boolean } {
  let [last, longest] = [performance.now(), 0];
  const look = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  const timer = setInterval(look, 10);
  return { paused: () => (look(), longest > pauseMs), [Symbol.dispose]: () => clearInterval(timer) };
}

/** Makes an attempt, and another one, twice at most, if it fails and the process paused meanwhile for over `pauseMs`. */
export async function unlessPaused(attempt: (tries: number) => Promise<void>, pauseMs?: number): Promise<void> {
  for (let tries = 0;; tries++) {
    using pauses = watchPauses(pauseMs);
    try {
      return await attempt(tries);
    } catch (error) {
      if (tries === 2 || !pauses.paused()) throw error;
    }
  }
}

/** Checks that something takes less than the limit (ms). Repeats it, twice at most, if the process paused meanwhile. */
export async function within(limit: number, measure: (tries: number) => Promise<number>): Promise<void> {
  for (let tries = 0;; tries++) {
    using pauses = watchPauses();
    const took = await measure(tries);
    if (took < limit) return;
    assert(tries < 2 && pauses.paused(), `it took ${took} ms`);
  }
}

/** A promise with its handles. */
export function deferred<T = void>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve!: (value: T) => void;
  const promise = new Promise<T>((done) => resolve = done);
  return { promise, resolve };
}

/** Returns a promise that the case awaits later. Rejected before that, it is no unhandled rejection, which ends runners. */
export function later<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

/** Waits until all parts have settled, then rejects if one did: the next test would report what goes on as its leak. */
export async function allEnded<T>(parts: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(parts);
  return await Promise.all(parts);
}

/** Lets everything that is ready run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}
