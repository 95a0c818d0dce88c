import type { LockRecord } from "../../mod.ts";

/** What happened to a lock between two queries. */
export interface Change {
  /** `held` is a lock that was acquired before the command began. */
  readonly change: "held" | "acquired" | "renewed" | "released" | "expired";
  readonly name: string;
  /** The lock as it is now, or as it was last seen. */
  readonly lock: LockRecord;
}

/**
 * The changes of one name from one query to the next.
 *
 * @param since How long ago the command began (s).
 */
export function changesBetween(
  name: string,
  before: readonly LockRecord[],
  after: readonly LockRecord[],
  since: number,
): Change[] {
  const old = new Map(before.map((lock) => [lock.token, lock]));
  const changes: Change[] = [];
  for (const lock of after) {
    const was = old.get(lock.token);
    old.delete(lock.token);
    if (was === undefined) changes.push({ change: lock.age > since ? "held" : "acquired", name, lock });
    else if (was.lockedUntil?.getTime() !== lock.lockedUntil?.getTime()) {
      changes.push({ change: "renewed", name, lock });
    }
  }
  const ended: Change[] = [...old.values()].map((lock) => ({
    change: lock.expired ? "expired" : "released",
    name,
    lock,
  }));
  return [...ended, ...changes];
}
