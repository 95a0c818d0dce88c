import type { LockRecord } from "../../mod.ts";
import { expiryOf } from "./record.ts";
import { duration, visible } from "./text.ts";

/** A time, and how long ago that is by the server's clock, which a lock that expires lets us tell. */
function since(record: LockRecord, time: Date): string {
  if (record.lockedUntil === null || record.expiresIn === null) return time.toISOString();
  const now = record.lockedUntil.getTime() - record.expiresIn * 1e3;
  return `${time.toISOString()} (${duration(Math.max(0, now - time.getTime()) / 1e3)} ago)`;
}

/** All that is known of a lock, a line for each. */
export function details(record: LockRecord): string {
  const { name, lockedBy, lockProcess, token, metadata, session } = record;
  const lines: [string, string][] = [
    ["Holder", visible(lockedBy) + (lockProcess === null ? "" : ` (process ${lockProcess})`)],
    ["Since", since(record, record.createdAt)],
    ["Renewed", since(record, record.updatedAt)],
    [record.expired ? "Expired" : "Until", expiryOf(record)],
    ["Token", String(token)],
    ["Kept", session === null ? "as a lease" : `as a lease and by the server's session ${visible(session)}`],
  ];
  if (metadata !== null) lines.push(["Metadata", visible(JSON.stringify(metadata))]);
  const state = record.expired ? "has expired: the name is free" : "is held";
  return [
    `Lock ${JSON.stringify(visible(name))} ${state}`,
    "",
    ...lines.map(([what, value]) => `  ${what.padEnd(9)} ${value}`),
  ].join("\n");
}
