import { backendOf } from "./connect.ts";
import { type BackendOptions, requireRows } from "./options.ts";
import { twice } from "./retrying.ts";

/** `resetLocks`, as `verbs.ts` promises it. */
export async function resetLocks(options: BackendOptions = {}): Promise<number> {
  const backend = await backendOf(options);
  requireRows(backend, "remove every lock");
  return await twice(() => backend.clean("all"));
}
