import type { Offence, Rule } from "../checker.ts";
import type { Closed, Disturbed, Listed } from "../events.ts";
import type { Operation, Reading } from "../reading.ts";
import { releaseOf, WINDOW } from "../spans.ts";
import { tellOperation } from "../telling.ts";

/** A lock without expiry is granted for so long first (s), until its holder has confirmed that it heard of the grant. */
const CONFIRMATION = 60;
/** A release of a lock with more than this left survives a crash of the server (s). */
const DURABLE = 900;
/** A request that is under way when its caller is told goes on for so long at most (s), and is undone then. */
const ANSWER = 4;
/** What the clocks of a listing and of a request may be apart (s): the time that an answer takes. */
const ROUNDING = 2;

/** How long the lock of a caller who was told an error may last, counted from that error (s). */
function longest({ expires, wait = 0, worker }: Operation, ends: Reading["ends"]): number {
  return (expires ?? CONFIRMATION) + ANSWER + ROUNDING + (wait > 0 && ends.has(worker) ? WINDOW : 0);
}

/** Whether the tests were in the way of the database at some time from the one moment to the other. */
type Disturbances = (from: number, to: number) => boolean;

function disturbancesOf({ events }: Reading): Disturbances {
  const disturbed = events.filter((event): event is Disturbed => event.kind === "disturbed");
  return (from, to) => disturbed.some((event) => event.from < to && event.at > from);
}

/** The backends that were disposed of with the database in reach. */
function closings({ events }: Reading, isDisturbed: Disturbances): readonly Closed[] {
  const closed = events.filter((event): event is Closed => event.kind === "closed");
  return closed.filter(({ from, at }) => !isDisturbed(from, at));
}

/** Why a listed lock is held by no client; `undefined` when it may be held. */
function reasonAgainst(
  listing: Operation,
  { name, token, left: seconds }: Listed,
  origin: Operation,
  { holds, ends }: Reading,
  closed: readonly Closed[],
  isDisturbed: Disturbances,
): string | undefined {
  // The last request of a lock without expiry makes it permanent. Where its answer was lost the lock is released, as
  // soon as the database can be reached.
  const isAway = seconds === null && isDisturbed(listing.invokedAt, listing.invokedAt);
  // A session lock has no expiry: it is listed until the release that follows the error has its answer.
  const left = origin.expires === undefined ? 0 : seconds ?? Infinity;
  const lasts = left + listing.invokedAt / 1e6;
  if (origin.answer?.outcome === "unknown" && !isAway && lasts > origin.completedAt / 1e6 + longest(origin, ends)) {
    return `${seconds === null ? "never expires" : `lasts ${seconds} s more`}, although its caller was told an error`;
  }
  const hold = holds.find((hold) => hold.name === name && String(hold.token) === token);
  const release = hold && releaseOf(hold);
  const released = release?.answer?.outcome === "done" && release.completedAt < listing.invokedAt;
  if (released && (seconds === null || seconds > DURABLE)) return `was released by ${tellOperation(release)}`;
  const outlived = closed.some(({ worker, at, operations: [first, last] }) =>
    worker === origin.worker && origin.id >= first && origin.id <= last && at < listing.invokedAt
  );
  if (outlived) return "was left by a backend that was disposed of";
  return undefined;
}

/** A name is held by no client no longer than the lease that a caller asked for who was told an error. */
export const abandoned: Rule = (reading) => {
  const origins = new Map(reading.operations.map((operation) => [operation.lockedBy, operation]));
  const isDisturbed = disturbancesOf(reading);
  const closed = closings(reading, isDisturbed);
  return reading.operations.flatMap((listing) =>
    (listing.answer?.listed ?? []).flatMap((listed): Offence[] => {
      const origin = origins.get(listed.lockedBy);
      const reason = origin && reasonAgainst(listing, listed, origin, reading, closed, isDisturbed);
      if (reason === undefined) return [];
      const story = `${tellOperation(listing)} showed token ${listed.token} of ${listed.lockedBy}, which ${reason}`;
      return [{ rule: "held by no client", name: listed.name, story }];
    })
  );
};
