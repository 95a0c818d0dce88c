import { batched } from "./batching.ts";
import { backendOf } from "./connect.ts";
import { foreignBackend, isHandle, type Lock } from "./lock.ts";
import { type BackendOptions, checkName, requireRows } from "./options.ts";
import { noteRelease } from "./waiting.ts";

/** `unlock`, as `verbs.ts` promises it. */
export async function unlock(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  if (isHandle(lock)) {
    if (options.backend !== undefined && options.backend !== lock.backend) throw foreignBackend(lock.name);
    return await lock.unlock();
  }
  checkName(lock);
  const backend = await backendOf(options);
  requireRows(backend, "release by name");
  const released = await batched(backend).release.ask({ name: lock, owner: null });
  if (released) noteRelease(backend, lock);
  return released;
}
