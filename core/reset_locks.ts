import { batched } from "./batching.ts";
import { backendOf } from "./connect.ts";
import { type BackendOptions, requireRows } from "./options.ts";
import { twice } from "./retrying.ts";

/** `resetLocks`, as `verbs.ts` promises it. */
export async function resetLocks(options: BackendOptions = {}): Promise<number> {
  const backend = await backendOf(options);
  requireRows(backend, "remove every lock");
  const removed = await twice(() => backend.clean("all"));
  for (const line of batched(backend).lines.values()) line.wake(); // every name is free for those who wait here
  return removed;
}
