/**
 * The queue of one name as a pure function: entries in the order in which they came, holders before waiters. Entry k
 * holds the lock exactly when k is at most the smallest limit of the entries up to it. Times are microseconds.
 *
 * @module
 */
import type { AcquireRequest, LockRef, NextHolder } from "../../core/backend.ts";
import { waitedFor } from "../../core/util/requests.ts";

/** A holder, or a waiter of the queue. */
export interface Entry {
  readonly owner: string;
  /** How many holders it admits. */
  readonly limit: number;
  /** How long a waiter wants the lock; `null` is permanently. */
  readonly duration: number | null;
  /** When a holder's lease expires, or a silent waiter leaves; `null` is never. */
  readonly until: number | null;
  /** When a waiter came, by the server's clock; in its process it may have waited before. */
  readonly came?: number;
  /** The fencing token of a holder. */
  readonly token?: number;
  /** When a holder was granted the lock. */
  readonly since?: number;
  /** When a holder was granted the lock or renewed it. */
  readonly updated?: number;
  readonly lockedBy: string;
  readonly lockProcess: number | null;
  readonly metadata: string | null;
  /** In `hybrid` mode: the key of the liveness lock, and the session that carries it. */
  readonly liveness?: string | null;
  readonly session?: string | null;
  /** On PostgreSQL: the channel that the process of a waiter listens on. */
  readonly listener?: string | null;
}

/** The session that carries a lock of `hybrid` mode. */
export type Carrier = Pick<Entry, "liveness" | "session">;

/** A name's highest token and its entries. */
export interface Line {
  readonly token: number;
  readonly entries: readonly Entry[];
}

/** What a request does to a line. */
export interface Joined {
  /** The new line; the same object when nothing has to be written. */
  readonly line: Line;
  /** Whether a lock is granted or confirmed, which has to reach the disk before a client may rely on it. */
  readonly grants: boolean;
  /** The entry of the request; `undefined` when it neither holds nor waits. */
  readonly mine: Entry | undefined;
}

/**
 * How long a grant lasts (µs) until its waiter confirms it, by repeating its request: a dead waiter delays the next one
 * by this, which with its detection stays below two seconds.
 */
export const GRACE_US = 1.5e6;

/** A waiter came later than another if its time is later by this (µs): requests take different times to the server. */
export const LATER_US = 20e3;

/** A waiter's window is extended once less than this share of it is left: in between a repeated request writes nothing. */
const EXTEND_SHARE = 0.8;

/** What is stored for the limit of a shared lock. */
export const SHARED_LIMIT = 1_000_000_000;

/** Whether one holder is wanted: while no client waits, such a lock needs no line. */
export function isPlain({ limit, steal = false }: AcquireRequest): boolean {
  return limit === 1 && !steal;
}

/** Whether an entry still counts. */
export function isLive({ until }: Pick<Entry, "until">, now: number): boolean {
  return until === null || until > now;
}

/** Whether a holder has only the grace so far of the duration that its request asks for. */
export function isUnconfirmed({ until, since }: Pick<Entry, "until" | "since">, { duration }: AcquireRequest): boolean {
  return until !== null && (duration === null || until - since! < duration);
}

/** Whether a waiter's repeated request has to extend its window, or to shorten one that was much longer. */
export function hasToExtend({ until }: Pick<Entry, "until">, { window }: AcquireRequest, now: number): boolean {
  if (window === undefined || until === null) return false;
  return until - now < window * EXTEND_SHARE || until - now > window * 2;
}

/** Whether an entry is a holder that a request is about; or a waiter, by its owner. */
export function isMeant({ owner }: LockRef): (entry: Entry) => boolean {
  if (owner === null) return ({ token }) => token !== undefined;
  if (typeof owner === "bigint") return ({ token }) => token !== undefined && BigInt(token) === owner;
  return (entry) => entry.owner === owner;
}

/**
 * Gives a token to each entry that has come to hold the lock: to `owner` for its duration, to others for the grace. The
 * clock is in the token because it stays when the row, which has the last token, is cleaned away.
 */
function grant({ token, entries }: Line, now: number, owner?: string): Line {
  let room = Infinity;
  const served = entries.map((entry, index): Entry => {
    room = Math.min(room, entry.limit);
    if (index >= room || entry.token !== undefined) return entry;
    token = Math.max(token + 1, now);
    const { duration } = entry;
    const time = entry.owner === owner ? duration : Math.min(duration ?? Infinity, GRACE_US);
    return { ...entry, token, since: now, updated: now, until: time === null ? null : now + time };
  });
  return { token, entries: served };
}

/** The entry of a request that waits, or comes to hold the lock. */
export function entryOf(request: AcquireRequest, now: number, carrier?: Carrier): Entry {
  const { owner, lockedBy, lockProcess, duration, metadata, window } = request;
  const until = window === undefined ? null : now + window;
  const limit = Math.min(request.limit, SHARED_LIMIT);
  return { owner, limit, duration, until, came: now - waitedFor(request), lockedBy, lockProcess, metadata, ...carrier };
}

/** Adds an entry before the waiters that came later. One that seems to come from the future is not overtaken. */
function insert(entries: readonly Entry[], added: Entry, now: number): Entry[] {
  const isLater = ({ token, came }: Entry) => token === undefined && came! > added.came! + LATER_US && came! <= now;
  const place = entries.findLastIndex((entry) => !isLater(entry)) + 1;
  return entries.toSpliced(place, 0, added);
}

/** Extends a lock that another client's release granted for the grace to its whole duration. */
function confirm(line: Line, known: Entry, request: AcquireRequest, now: number): Joined {
  if (!isUnconfirmed(known, request)) return { line, mine: known, grants: false };
  const until = request.duration === null ? null : Math.max(known.until!, now + request.duration);
  const mine = { ...known, until, updated: now };
  const entries = line.entries.map((entry) => entry === known ? mine : entry);
  return { line: { token: line.token, entries }, mine, grants: true };
}

/**
 * Acquires a name, or stands in its line, or stays there: a repeated request finds its entry, and confirms what it was
 * granted meanwhile.
 */
export function join(line: Line, request: AcquireRequest, now: number, carrier?: Carrier): Joined {
  const { owner, window, steal = false } = request;
  const live = line.entries.filter((entry) => isLive(entry, now));
  const known = live.find((entry) => entry.owner === owner);
  if (known?.token !== undefined) return confirm(line, known, request, now);
  let entries = live;
  if (known === undefined) {
    const added = entryOf(request, now, carrier);
    entries = steal ? [added, ...live.filter(({ token }) => token === undefined)] : insert(live, added, now);
  } else if (hasToExtend(known, request, now)) {
    entries = live.map((entry) => entry === known ? { ...entry, until: now + window! } : entry);
  }
  const served = grant({ token: line.token, entries }, now, owner);
  const mine = served.entries.find((entry) => entry.owner === owner)!;
  // A try leaves nothing.
  if (mine.token === undefined && window === undefined) return { line, mine: undefined, grants: false };
  const grants = served.token > line.token;
  return { line: entries !== live || grants ? served : line, mine, grants };
}

/** The owner of an entry that a holder has released before its least time: one that no client has. */
export function keptOwner(owner: string): string {
  return `~${owner.slice(1)}`;
}

/** Whether an entry was released by an owner before its least time. */
export function isKept(owner: string, now: number): (entry: Entry) => boolean {
  return (entry) => entry.owner === keptOwner(owner) && isLive(entry, now);
}

/**
 * Removes entries, and gives the lock to the waiters whose turn it is. With `keep`, a holder's entry stays until so many
 * microseconds after its grant, held by nobody.
 */
export function leave(line: Line, now: number, leaves: (entry: Entry) => boolean, keep?: number): Line {
  const entries = line.entries.flatMap((entry): Entry[] => {
    if (!isLive(entry, now)) return [];
    if (!leaves(entry)) return [entry];
    const until = keep === undefined ? -Infinity : (entry.since ?? -Infinity) + keep;
    const noHolder = { owner: keptOwner(entry.owner), lockedBy: "", lockProcess: null, metadata: null };
    return until > now ? [{ ...entry, ...noHolder, until, updated: now }] : [];
  });
  return grant({ token: line.token, entries }, now);
}

/** Gives a live holder's entry to another owner; returns the same line if it is not there. */
export function changeOwner(line: Line, now: number, owner: string, next: NextHolder): Line {
  const mine = line.entries.find((entry) => entry.owner === owner && entry.token !== undefined && isLive(entry, now));
  if (mine === undefined) return line;
  const entries = line.entries.map((entry) => entry === mine ? { ...mine, ...next, updated: now } : entry);
  return { token: line.token, entries };
}

/** Extends the live holders among some entries, never shortening a lease. */
export function extend(
  line: Line,
  now: number,
  who: (entry: Entry) => boolean,
  end: (entry: Entry) => number | null,
): Line {
  const entries = line.entries.map((entry) => {
    if (entry.token === undefined || !isLive(entry, now) || !who(entry)) return entry;
    const wanted = end(entry);
    const until = entry.until === null || wanted === null ? null : Math.max(entry.until, wanted);
    return { ...entry, until, updated: now };
  });
  return { token: line.token, entries };
}
