import type { LockActivity, LockRecord, ServerConnection } from "../../mod.ts";
import { expiryOf, holderOf } from "./record.ts";
import { duration, toJson, visible } from "./text.ts";

/** What is known of a lock. */
export interface Known {
  readonly name: string;
  readonly locked: boolean;
  /** The lock, where there is a row. */
  readonly record?: LockRecord;
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

function linesOfRecord(record: LockRecord): [string, string][] {
  const { token, session, limit, waiters } = record;
  return [
    [
      "Holder",
      record.lockedBy === "" ? "none: released before its least time" : holderOf(record, "process "),
    ],
    ["Since", since(record, record.createdAt)],
    ["Renewed", since(record, record.updatedAt)],
    [record.expired ? "Expired" : "Until", expiryOf(record)],
    ["Token", String(token)],
    ...(limit === 1 ? [] : [["Shared", limit === Infinity ? "with other readers" : `by at most ${limit} holders`]]) as [
      string,
      string,
    ][],
    ...(waiters === 0 ? [] : [["Waiters", String(waiters)]]) as [string, string][],
    ["Kept", session === null ? "as a lease" : "as a lease, for as long as the holder's session lasts"],
  ];
}

/** The holder's connections: the row has their number, the server more. */
function linesOfHolders({ record, seen }: Known): [string, string][] {
  if (seen !== undefined && seen.holders.length > 0) return seen.holders.map((peer) => ["Session", peerOf(peer)]);
  return record?.session ? [["Session", visible(record.session)]] : [];
}

function linesOfWaiters(waiters: readonly ServerConnection[]): [string, string][] {
  const lines = waiters.slice(0, MOST_WAITERS).map((peer) => `session ${peerOf(peer)}`);
  if (waiters.length > lines.length) lines.push(`and ${waiters.length - lines.length} more`);
  return lines.map((line, index) => [index === 0 ? "Waiting" : "", line]);
}

function stateOf({ record, locked }: Known): string {
  if (locked) return "is held";
  if (record === undefined) return "is not held";
  return record.expired ? "has expired: the name is free" : "was left by a session that has ended: the name is free";
}

/** Everything about a lock, a line each. */
export function details(known: Known): string {
  const { name, locked, record, seen } = known;
  const lines: [string, string][] = [
    ...record ? linesOfRecord(record) : locked ? [["Kept", "by the holder's session alone"] as [string, string]] : [],
    ...linesOfHolders(known),
    ...linesOfWaiters(seen?.waiters ?? []),
  ];
  if (record !== undefined && record.metadata !== null) {
    lines.push(["Metadata", toJson(record.metadata)]);
  }
  const head = `Lock ${toJson(name)} ${stateOf(known)}`;
  if (lines.length === 0) return head;
  return [head, "", ...lines.map(([what, value]) => `  ${what.padEnd(9)} ${value}`)].join("\n");
}
