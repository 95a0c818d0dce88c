/**
 * What the core is told of a line.
 *
 * @module
 */
import type {
  AcquireAnswer,
  AcquireRequest,
  LockRow,
  RenewRequest,
  SessionHandle,
  WaiterRow,
} from "../../core/backend.ts";
import type { BusyAnswer } from "../../core/util/requests.ts";
import { type Entry, extend, isLive, isMeant, type Line, SHARED_LIMIT } from "./line.ts";

function waitingIn({ entries }: Line, now: number): Entry[] {
  return entries.filter((entry) => entry.token === undefined && isLive(entry, now));
}

/** How many wait. */
export function waitersIn(line: Line, now: number): number {
  return waitingIn(line, now).length;
}

/** Returns the waiters of a line in the core's form. */
export function queueIn(line: Line, now: number): WaiterRow[] {
  return waitingIn(line, now).map(({ lockedBy, lockProcess, metadata, limit }) => {
    return { lockedBy, lockProcess, metadata, limit: limitOf(limit) };
  });
}

/** Returns how many holders an entry admits. */
export function limitOf(stored: number): number {
  return stored >= SHARED_LIMIT ? Infinity : stored;
}

/** Converts a holder to the core's form. */
export function rowOf(name: string, entry: Entry, waiters: number, now: number): LockRow {
  const { limit, until, token, since, updated, lockedBy, lockProcess, metadata, session } = entry;
  return {
    name,
    token: BigInt(token!),
    lockedBy,
    lockProcess,
    lockedUntil: until,
    createdAt: since!,
    updatedAt: updated!,
    metadata,
    now,
    limit: limitOf(limit),
    waiters,
    ...(session ? { session: String(session) } : {}),
  };
}

/** What becomes of a line by a renewal: the line, and the first holder that was extended, if there is one. */
export function renewal(
  line: Line,
  request: RenewRequest,
  now: number,
): { readonly line: Line; readonly row?: LockRow } {
  const { name, from, add } = request;
  const isOf = isMeant(request);
  const isExtended = (entry: Entry) => isOf(entry) && entry.lockedBy !== "";
  const extended = extend(line, now, isExtended, ({ until }) => {
    if (add === null) return null;
    return (from === "now" ? now : from === "expiry" ? until ?? 0 : from) + add;
  });
  const mine = extended.entries.find((entry) => entry.token !== undefined && isLive(entry, now) && isExtended(entry));
  if (mine === undefined) return { line };
  return { line: extended, row: rowOf(name, mine, waitersIn(extended, now), now) };
}

/**
 * The answer to a request whose entry is `mine`: `undefined` when it is not in the line.
 *
 * @param session What carries the lock, if it is granted.
 */
export function answerTo(
  { name }: AcquireRequest,
  line: Line,
  mine: Entry | undefined,
  now: number,
  session?: SessionHandle,
): AcquireAnswer {
  const waiters = waitersIn(line, now);
  if (mine?.token !== undefined) {
    return { granted: true, row: rowOf(name, mine, waiters, now), ...(session ? { session } : {}) };
  }
  const live = line.entries.filter((entry) => isLive(entry, now));
  const holders = live.filter(({ token }) => token !== undefined);
  return busyAnswer(holders, waiters, name, now, mine && live.indexOf(mine) - holders.length + 1);
}

/** Returns the holders of a line, with or without expired ones, in the order in which they came. */
export function holdersIn(line: Line, name: string, now: number, includeExpired: boolean): LockRow[] {
  const queue = queueIn(line, now);
  return line.entries
    .filter((entry) => entry.token !== undefined && (includeExpired || isLive(entry, now)))
    .map((entry) => ({ ...rowOf(name, entry, queue.length, now), queue }));
}

/** The answer to a request that is not granted: the holder whose lease ends first, and the request's place, if it waits. */
export function busyAnswer(
  holders: readonly Entry[],
  waiters: number,
  name: string,
  now: number,
  position?: number,
): BusyAnswer {
  const first = holders.reduce<Entry | undefined>(
    (first, entry) => (entry.until ?? Infinity) < (first?.until ?? Infinity) ? entry : first,
    holders[0],
  );
  const holder = first && rowOf(name, first, waiters, now);
  return position === undefined ? { granted: false, holder } : { granted: false, holder, position };
}
