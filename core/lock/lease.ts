import type { AcquireRequest, LockRow } from "../backend.ts";

/**
 * This process gives a lease up earlier than the server, by a margin: a share of the time left, for clocks that drift; at
 * least what a timer is late on a busy machine; and at most a second.
 */
const MARGIN_SHARE = 0.01;
const MARGIN_MIN_MS = 5;
const MARGIN_MAX_MS = 1_000;

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
 * asked for. It never passes the server's expiry, because the server read its clock after the request was sent.
 */
export function localDeadline(row: LockRow, askedAt: number): number {
  if (row.lockedUntil === null) return Infinity;
  const left = (row.lockedUntil - row.now) / 1e3;
  return askedAt + left - Math.min(Math.max(left * MARGIN_SHARE, MARGIN_MIN_MS), MARGIN_MAX_MS);
}
