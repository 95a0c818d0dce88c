import type { LockActivity, LockRecord, ServerConnection } from "../../mod.ts";
import { expiryOf, holderOf } from "./record.ts";
import { duration, toJson, visible } from "./text.ts";

/** What is known of a lock. */
export interface Known {
  readonly name: string;
  readonly locked: boolean;
  /** Its holders, or the expired one, where there are rows. */
  readonly records: readonly LockRecord[];
  /** The connections of holder and waiters, where the server lists them. */
  readonly seen?: LockActivity;
}

/** Waiters that are listed. */
const MOST_WAITERS = 10;

/** A time, and how long ago that is by the server's clock. */
function since(record: LockRecord, time: Date): string {
  const ago = record.age - (time.getTime() - record.createdAt.getTime()) / 1e3;
  return `${time.toISOString()} (${duration(Math.max(0, ago))} ago)`;
}

/** A connection in a few words. */
export function peerOf({ session, client, program }: ServerConnection): string {
  const where = client === undefined ? "" : ` at ${client === "local" ? "the server's own host" : visible(client)}`;
  return `${visible(session)}${where}${program === undefined ? "" : ` (${visible(program)})`}`;
}

/** A label and its value. */
type Line = [label: string, value: string];

function linesOfRecord(record: LockRecord): Line[] {
  const { token, session, limit, metadata } = record;
  const lines: Line[] = [
    ["Holder", record.lockedBy === "" ? "none: released before its least time" : holderOf(record, "process ")],
    ["Since", since(record, record.createdAt)],
    ["Renewed", since(record, record.updatedAt)],
    [record.expired ? "Expired" : "Until", expiryOf(record)],
    ["Token", String(token)],
  ];
  if (limit !== 1) lines.push(["Shared", limit === Infinity ? "with other readers" : `by at most ${limit} holders`]);
  lines.push(["Kept", session === null ? "as a lease" : "as a lease, for as long as the holder's session lasts"]);
  if (metadata !== null) lines.push(["Metadata", toJson(metadata)]);
  return lines;
}

/** The holders' connections: the rows have their numbers, the server more. */
function linesOfHolders({ records, seen }: Known): Line[] {
  if (seen !== undefined && seen.holders.length > 0) return seen.holders.map((peer) => ["Session", peerOf(peer)]);
  return records.flatMap(({ session }) => session === null ? [] : [["Session", visible(session)]]);
}

function linesOfWaiters(waiters: readonly ServerConnection[]): Line[] {
  const lines = waiters.slice(0, MOST_WAITERS).map((peer) => `session ${peerOf(peer)}`);
  if (waiters.length > lines.length) lines.push(`and ${waiters.length - lines.length} more`);
  return lines.map((line, index) => [index === 0 ? "Waiting" : "", line]);
}

function stateOf({ records: [record], locked }: Known): string {
  if (locked) return "is held";
  if (record === undefined) return "is not held";
  return record.expired ? "has expired: the name is free" : "was left by a session that has ended: the name is free";
}

/** Everything about a lock, a line each, and a block for each of several holders. */
export function details(known: Known): string {
  const { records, locked, seen } = known;
  const waiters = records[0]?.waiters ?? 0;
  const further: Line[] = [];
  if (locked && records.length === 0) further.push(["Kept", "by the holder's session alone"]);
  further.push(...linesOfHolders(known));
  if (waiters > 0) further.push(["Waiters", String(waiters)]);
  further.push(...linesOfWaiters(seen?.waiters ?? []));
  const blocks = [...records.map(linesOfRecord), further];
  if (records.length === 1) blocks.splice(0, 2, blocks.flat());
  const parts = blocks.map((lines) => lines.map(([what, value]) => `  ${what.padEnd(9)} ${value}`).join("\n"));
  return [`Lock ${toJson(known.name)} ${stateOf(known)}`, ...parts.filter((part) => part !== "")].join("\n\n");
}
