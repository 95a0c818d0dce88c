/**
 * Who waits for what in this process: one line for each name, of which only the head talks to the server.
 *
 * @module
 */
import type { AcquireRequest, Backend, LockRow } from "./backend.ts";
import { BoundedMap } from "./bounded_map.ts";
import type { Grant } from "./holding.ts";
import { Line } from "./line.ts";
import type { LockRecord } from "./record.ts";
import { monotonic } from "./runtime.ts";

/** What came of it: the lock, or who has it. */
export type Outcome =
  | { readonly granted: true; readonly grant: Grant }
  | { readonly granted: false; readonly holder: LockRecord | undefined };

/** A name counts as contended for so long after another process was seen to hold it (ms). */
const CONTENDED_FOR = 1_000;
/** After its own release of a contended name a process lets others go first for so long (ms): waking takes them 1 to 2. */
const COURTESY = 3;
/** How many names each of the memories below keeps: beyond it the oldest is forgotten, which costs some courtesy only. */
const MEMORY = 1_024;

/** The lines of one backend, and what this process remembers of names that others want as well. */
export class Lines {
  readonly #lines = new Map<string, Line>();
  readonly #granted = new BoundedMap<string, bigint>(MEMORY);
  readonly #rivalAt = new BoundedMap<string, number>(MEMORY);
  readonly #releasedAt = new BoundedMap<string, number>(MEMORY);

  /** The line for a name, made when there is none. */
  join(backend: Backend, request: AcquireRequest, deadline: number, signal?: AbortSignal): Promise<Outcome> {
    let line = this.#lines.get(request.name);
    if (line === undefined) {
      const name = request.name;
      line = new Line(backend, name, this, () => this.#lines.delete(name));
      this.#lines.set(name, line);
    }
    return line.join(request, deadline, signal);
  }

  /** Remembers what this process was granted. */
  noteGrant(row: LockRow): void {
    this.#granted.set(row.name, row.token);
  }

  /** Remembers that another process holds a name, if this one was not granted that lock itself. */
  noteHolder(row: LockRow): void {
    if (this.#granted.get(row.name) !== row.token) this.#rivalAt.set(row.name, monotonic());
  }

  /** A lock was released by this process: the next in line may go on. */
  noteRelease(name: string): void {
    if (this.#rivalAt.has(name)) this.#releasedAt.set(name, monotonic());
    this.#lines.get(name)?.wake();
  }

  /** Until when (ms, monotonic) this process lets others have a contended name that it has just released itself. */
  courtesyUntil(name: string): number {
    const rivalAt = this.#rivalAt.get(name);
    if (rivalAt === undefined) return -Infinity;
    if (monotonic() - rivalAt > CONTENDED_FOR) {
      this.#rivalAt.delete(name);
      return -Infinity;
    }
    return (this.#releasedAt.get(name) ?? -Infinity) + COURTESY;
  }
}

const linesOf = new WeakMap<Backend, Lines>();

/**
 * Takes a lock for one caller: at once when nobody of this process is in line for the name, else in order. A caller
 * who does not wait (`deadline` of `-Infinity`) never overtakes those who do.
 */
export function stand(
  backend: Backend,
  request: AcquireRequest,
  deadline: number,
  signal?: AbortSignal,
): Promise<Outcome> {
  let lines = linesOf.get(backend);
  if (lines === undefined) linesOf.set(backend, lines = new Lines());
  return lines.join(backend, request, deadline, signal);
}

/** Tells the line for a name that this process has released it. */
export function noteRelease(backend: Backend, name: string): void {
  linesOf.get(backend)?.noteRelease(name);
}
