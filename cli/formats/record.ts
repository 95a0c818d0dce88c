/**
 * One lock in words.
 *
 * @module
 */
import type { LockRecord } from "../../mod.ts";
import { duration, visible } from "./text.ts";

/** The holder of a lock; a lock that was released before its least time has none. */
export function holderOf({ lockedBy, lockProcess }: LockRecord, process = ""): string {
  if (lockedBy === "") return "none";
  return visible(lockedBy) + (lockProcess === null ? "" : ` (${process}${lockProcess})`);
}

/** A lock in one line, as django-lockmgr's list shows it. */
export function recordLine(record: LockRecord): string {
  const line = String(record).replace(/ locked_until='[^']*'>$/, (until) => {
    return ` lock_process='${record.lockProcess ?? "None"}'${until}`;
  });
  const kept = record.lockedBy === "" ? ` held until ${record.lockedUntil?.toISOString()} by nobody` : "";
  return visible(line) + kept + (record.expired ? " (expired)" : "");
}

/** When a lock expires, and how long that is from now. */
export function expiryOf(record: LockRecord): string {
  if (record.lockedUntil === null || record.expiresIn === null) return "it is released";
  const left = record.expired ? `${duration(-record.expiresIn)} ago` : `in ${duration(record.expiresIn)}`;
  return `${record.lockedUntil.toISOString()} (${left})`;
}
