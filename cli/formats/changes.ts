import type { LockRecord } from "../../mod.ts";

/** What happened to a lock between two queries. */
export interface Change {
  /** `held` is a lock that the first query found. */
  readonly change: "held" | "acquired" | "renewed" | "released" | "expired";
  readonly name: string;
  /** The lock as it is now, or as it was last seen. */
  readonly lock: LockRecord;
}

/** The changes from one query to the next; without `before` at the first. */
export function changesBetween(before: readonly LockRecord[] | undefined, after: readonly LockRecord[]): Change[] {
  const old = new Map(before?.map((lock) => [lock.name, lock]));
  const changes: Change[] = [];
  for (const lock of after) {
    const was = old.get(lock.name);
    old.delete(lock.name);
    if (before === undefined) changes.push({ change: "held", name: lock.name, lock });
    else if (was?.token !== lock.token) changes.push({ change: "acquired", name: lock.name, lock });
    else if (was.lockedUntil?.getTime() !== lock.lockedUntil?.getTime()) {
      changes.push({ change: "renewed", name: lock.name, lock });
    }
  }
  for (const lock of old.values()) {
    changes.push({ change: lock.expired ? "expired" : "released", name: lock.name, lock });
  }
  return changes;
}
