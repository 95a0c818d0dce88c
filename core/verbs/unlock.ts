import { backendState } from "../wait/backend_state.ts";
import { backendOf } from "../connect.ts";
import { foreignBackend, isHandle, type Lock } from "../lock/lock.ts";
import { type BackendOptions, checkName, requireRows } from "../options/options.ts";
import { noteRelease } from "../wait/acquire_in_order.ts";

/** `unlock`, as `verbs.ts` promises it. */
export async function unlock(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  if (isHandle(lock)) {
    if (options.backend !== undefined && options.backend !== lock.backend) throw foreignBackend(lock.name);
    return await lock.unlock();
  }
  checkName(lock);
  const backend = await backendOf(options);
  requireRows(backend, "release by name");
  const released = await backendState(backend).release.ask({ name: lock, owner: null });
  if (released) noteRelease(backend, lock);
  return released;
}
