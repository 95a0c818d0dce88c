/**
 * Everything that is not needed before the first call: `loading.ts` loads it then.
 *
 * @module
 */
export { acquire } from "../wait/acquire.ts";
export { cleanLocks } from "./clean_locks.ts";
export { closeLocks } from "../wait/close_locks.ts";
export { getLock, tryLock } from "./get_lock.ts";
export { HeldLock } from "../lock/held_lock.ts";
export { isLocked } from "./is_locked.ts";
export { listLocks } from "./list_locks.ts";
export { describeFor, open, schemaFor } from "../opening.ts";
export { renewLock } from "./renew_lock.ts";
export { resetLocks } from "./reset_locks.ts";
export { setLock } from "./set_lock.ts";
export { unlock } from "./unlock.ts";
export { withLock } from "./with_lock.ts";
