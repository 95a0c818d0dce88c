import { backendOf } from "./connect.ts";
import type { BackendOptions } from "./options.ts";
import { twice } from "./retrying.ts";

/** `cleanLocks`, as `verbs.ts` promises it. */
export async function cleanLocks(options: BackendOptions = {}): Promise<number> {
  const backend = await backendOf(options);
  return backend.mode === "session" ? 0 : await twice(() => backend.clean("expired"));
}
