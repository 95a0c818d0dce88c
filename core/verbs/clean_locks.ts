import { backendOf } from "../connect.ts";
import type { BackendOptions } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/** `cleanLocks`, as `verbs.ts` promises it. */
export async function cleanLocks(options: BackendOptions = {}): Promise<number> {
  const backend = await backendOf(options);
  return backend.mode === "session" ? 0 : await retryOnce(() => backend.clean("expired"));
}
