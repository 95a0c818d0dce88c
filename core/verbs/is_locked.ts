import { backendOf } from "../connect.ts";
import { foreignBackend, isHandle, type Lock } from "../lock/lock.ts";
import { type BackendOptions, checkName } from "../options/options.ts";
import { retryOnce } from "../util/retry.ts";

/** `isLocked`, as `verbs.ts` promises it. */
export async function isLocked(lock: Lock | string, options: BackendOptions = {}): Promise<boolean> {
  const handle = isHandle(lock) ? lock : undefined;
  if (handle && options.backend !== undefined && options.backend !== handle.backend) throw foreignBackend(handle.name);
  const name = handle ? handle.name : lock as string;
  checkName(name);
  const backend = handle ? handle.backend : await backendOf(options);
  const rows = await retryOnce(() => backend.list({ names: [name] }));
  return rows.length > 0;
}
