/**
 * Everything that gives a lock, behind one face: our modes on each engine. The rivals are in `rivals.ts`.
 *
 * @module
 */
import { type Backend, connect, getLock, type Mode } from "../mod.ts";
import { type Engine, labels, type Places } from "./places.ts";

/** What our locks are called when each goes in a statement of its own, and all on one connection like a batch. */
export const ONE_CONNECTION = "one statement each on one connection";

/** Gives a lock back. */
export type Release = () => unknown;

/** How a name is held beside others; alone when nothing is said. */
export interface Sharing {
  /** Beside all other readers. */
  readonly shared?: boolean;
  /** Beside so many holders, itself included. */
  readonly limit?: number;
}

/** Something that gives locks. */
export interface Contestant extends AsyncDisposable {
  /** What people call it. */
  readonly label: string;
  /** Takes a name that is free. */
  take(name: string): Promise<Release>;
  /** Waits for a name; a signal ends the wait. What cannot be shared is held alone. */
  wait(name: string, signal: AbortSignal, sharing?: Sharing): Promise<Release>;
  /** Tries a name once and answers whether it was free. */
  tries?(name: string): Promise<boolean>;
}

/** One of ours. */
export interface Ours extends Contestant {
  readonly engine: Engine;
  readonly backend: Backend;
}

/** The modes of an engine. */
export function modesOf(engine: Engine): readonly Mode[] {
  return engine === "sqlite" ? ["lease"] : ["lease", "session", "hybrid"];
}

/** A backend on an engine. */
export function open(places: Places, engine: Engine, mode: Mode, table?: string): Promise<Backend> {
  return connect(places[engine], { mode, ...table && { table } });
}

/** A backend of a server with one connection. */
export function openNarrow(places: Places, engine: Exclude<Engine, "sqlite">, mode: Mode): Promise<Backend> {
  return connect(places[engine], { mode, maxConnections: 1 });
}

/** Our locks of one mode on an engine. */
export async function openOurs(places: Places, engine: Engine, mode: Mode): Promise<Ours> {
  const backend = await open(places, engine, mode);
  return {
    engine,
    backend,
    label: `${labels[engine]} ${mode}`,
    take: async (name) => {
      const lock = await getLock(name, { backend });
      return () => lock.unlock();
    },
    wait: async (name, signal, sharing) => {
      const lock = await getLock(name, { backend, wait: Infinity, signal, ...sharing });
      return () => lock.unlock();
    },
    [Symbol.asyncDispose]: () => backend[Symbol.asyncDispose](),
  };
}

/** Asks a backend for one name in a statement of its own, and gives it back so, past all that joins callers. */
export async function singlePair(backend: Backend, name: string): Promise<void> {
  const owner = crypto.randomUUID();
  const duration = backend.mode === "session" ? null : 600e6; // µs, the library's default
  const request = { name, owner, duration, lockedBy: "bench", lockProcess: null, metadata: null, limit: 1 };
  const [{ granted }] = await backend.acquire([request]);
  if (!granted) throw new Error(`Cannot take "${name}": it is held`);
  await backend.release([{ name, owner }]);
}

/** Takes a name and gives it back. */
export async function pair(contestant: Contestant, name: string): Promise<void> {
  await (await contestant.take(name))();
}

/** Closes several things, the last one first. */
export async function closeAll(open: readonly AsyncDisposable[]): Promise<void> {
  for (const one of open.toReversed()) await one[Symbol.asyncDispose]();
}
