import type { AcquireRequest, LockRow, RenewRequest } from "../backend.ts";
import { monotonic } from "../util/runtime.ts";

/** The safety margin: how far two clocks may drift apart during an interval, as a share of it, and at most. */
const DRIFT_SHARE = 0.01;
const DRIFT_MAX_MS = 1_000;
/** How late (ms) a timer is on a busy machine. */
const TIMER_LATE_MS = 5;

/** Returns how far (ms) the clocks of this process and of the server may drift apart during an interval (ms). */
export function driftDuring(interval: number): number {
  return Math.min(interval * DRIFT_SHARE, DRIFT_MAX_MS);
}

/**
 * Returns the monotonic time (ms) from which the time left in an answer counts: when the answered request was sent. If
 * an earlier request of the same owner was granted, the lease is older than this answer, but it lasts its whole duration
 * from when the first request was sent. One that another client's release has granted for a short time does not.
 */
export function leaseStart(request: AcquireRequest, row: LockRow, firstAskedAt: number, askedAt: number): number {
  if (request.duration === null || row.lockedUntil === null) return askedAt;
  if (row.lockedUntil - row.createdAt < request.duration) return askedAt;
  return Math.max(askedAt, firstAskedAt + (request.duration - (row.lockedUntil - row.now)) / 1e3);
}

/**
 * Returns the monotonic time (ms) from which this process must not act as the holder, given when its newest answer was
 * asked for. It never passes the server's expiry, because the server read its clock after the request was sent. A
 * safety margin is subtracted, for clocks that drift and timers that are late.
 */
export function localDeadline(row: LockRow, askedAt: number): number {
  if (row.lockedUntil === null) return Infinity;
  const left = (row.lockedUntil - row.now) / 1e3;
  return askedAt + left - Math.max(driftDuring(left), TIMER_LATE_MS);
}

/**
 * Whether an answer shows that a lock was extended as asked: in a batch, one whose row another transaction keeps locked
 * is answered as it is.
 */
export function isExtended({ from, add }: RenewRequest, { lockedUntil, now }: LockRow, askedAt: number): boolean {
  if (lockedUntil === null || from === "expiry") return true;
  if (add === null) return false;
  const start = from === "now" ? now - Math.ceil((monotonic() - askedAt) * 1e3) : from;
  return lockedUntil >= start + add;
}
