/**
 * Who waits for what in this process: one line for each name, of which only the head talks to the server.
 *
 * @module
 */
import type { AcquireRequest, Backend } from "../backend.ts";
import { backendState } from "./backend_state.ts";
import type { Grant } from "../lock/held_lock.ts";
import { WaitQueue } from "./wait_queue.ts";
import type { LockRecord } from "../lock/lock_record.ts";

/** What came of it: the lock, or who has it. */
export type Outcome =
  | { readonly granted: true; readonly grant: Grant }
  | { readonly granted: false; readonly holder: LockRecord | undefined };

/**
 * Takes a lock for one caller: at once when nobody of this process is in line for the name, else in order. A caller
 * who does not wait (`deadline` of `-Infinity`) never overtakes those who do.
 */
export function acquireInOrder(
  backend: Backend,
  request: AcquireRequest,
  deadline: number,
  signal?: AbortSignal,
): Promise<Outcome> {
  const batches = backendState(backend);
  let line = batches.lines.get(request.name);
  if (line === undefined) batches.lines.set(request.name, line = new WaitQueue(backend, batches, request.name));
  return line.join(request, deadline, signal);
}

/** Tells the line for a name that this process has released it. */
export function noteRelease(backend: Backend, name: string): void {
  backendState(backend).lines.get(name)?.noteRelease();
}
