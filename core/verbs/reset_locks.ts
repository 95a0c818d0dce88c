import { backendState } from "../wait/backend_state.ts";
import { backendOf } from "../connect.ts";
import { type BackendOptions, requireRows } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/** `resetLocks`, as `verbs.ts` promises it. */
export async function resetLocks(options: BackendOptions = {}): Promise<number> {
  const backend = await backendOf(options);
  requireRows(backend, "remove every lock");
  const removed = await retryOnce(() => backend.clean("all"));
  for (const line of backendState(backend).lines.values()) line.wake(); // every name is free for those who wait here
  return removed;
}
