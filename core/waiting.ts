/**
 * Who waits for what in this process: one line for each name, of which only the head talks to the server.
 *
 * @module
 */
import type { AcquireRequest, Backend } from "./backend.ts";
import { BoundedMap } from "./bounded_map.ts";
import type { Grant } from "./holding.ts";
import { Line } from "./line.ts";
import type { LockRecord } from "./record.ts";

/** What came of it: the lock, or who has it. */
export type Outcome =
  | { readonly granted: true; readonly grant: Grant }
  | { readonly granted: false; readonly holder: LockRecord | undefined };

/** How many lines are kept that nobody is in: one that is forgotten costs some courtesy between processes only. */
const MEMORY = 1_024;

type Lines = BoundedMap<string, Line>;

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
  if (lines === undefined) linesOf.set(backend, lines = new BoundedMap(MEMORY, ({ running }) => running));
  let line = lines.get(request.name);
  if (line === undefined) lines.set(request.name, line = new Line(backend, request.name));
  return line.join(request, deadline, signal);
}

/** Tells the line for a name that this process has released it. */
export function noteRelease(backend: Backend, name: string): void {
  linesOf.get(backend)?.get(name)?.noteRelease();
}
