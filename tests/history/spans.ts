/**
 * When a name may have been held, as far as a history tells.
 *
 * @module
 */
import type { Hold, Operation, Reading } from "./reading.ts";

/** A waiter whose process has died stays in the queue for so long at most (s), and may be granted the name until then. */
export const WINDOW = 15;

/** A time in which a name may have been held. */
export interface Span {
  readonly from: number;
  readonly at: number;
  /** The operation that it is of. */
  readonly of: Operation;
}

/** The latest moment at which a lease that an operation asked for expires. */
export function lapse({ completedAt, expires }: Operation, from = completedAt): number {
  return expires === null ? Infinity : from + (expires ?? 0) * 1e6;
}

/** The release that ended a hold for certain. */
export function releaseOf({ operations }: Hold): Operation | undefined {
  return operations.find(({ verb, answer }) => verb === "release" && answer && answer.outcome !== "unknown");
}

/** From the answer to the release, or to the latest moment at which it can have expired. */
export function spanOf(hold: Hold, ends: Reading["ends"]): Span {
  const { grant, operations } = hold;
  const release = releaseOf(hold);
  if (release) return { from: grant.completedAt, at: release.completedAt, of: grant };
  const died = ends.get(hold.worker) ?? Infinity;
  const lasting = grant.autoRenew || grant.expires === undefined; // kept for as long as its process lives
  const own = lapse(grant, lasting ? Math.min(died, hold.told?.at ?? Infinity) : grant.completedAt);
  const renewals = operations.filter(({ verb }) => verb === "renew").map((renewal) => lapse(renewal));
  return { from: grant.completedAt, at: Math.max(own, ...renewals), of: grant };
}
