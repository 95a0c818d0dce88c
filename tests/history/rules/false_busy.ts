import { GRACE_US } from "../../../backends/shared/line.ts";
import type { Offence, Rule } from "../checker.ts";
import type { Disturbed } from "../events.ts";
import type { Operation, Reading } from "../reading.ts";
import { lapse, releaseOf, spanOf, WINDOW } from "../spans.ts";
import { tellOperation, when } from "../telling.ts";

/** A server may keep the session of a client that it does not hear any more for so long (µs): trials ask for 6 s. */
const SESSION_KEPT = 8e6;

/** What the tests call it when the server waits with its commits. */
const COMMITS_LATE = "commits late";

/** When an operation on a name may have kept it from others. */
interface OwnedLock {
  readonly from: number;
  readonly at: number;
  readonly of: Operation;
}

/**
 * Returns how long a request that was given up at `at` may still be under way: while the server waits with commits. Its
 * transaction keeps the row locked, whatever it will have done.
 */
function underWayUntil(at: number, { events }: Reading): number {
  const commits = events.filter((event): event is Disturbed =>
    event.kind === "disturbed" && event.what === COMMITS_LATE
  );
  return Math.max(at, ...commits.filter(({ from }) => from < at).map((event) => event.at));
}

/** Everything that may have kept a name from others, by name. */
function claims(reading: Reading, kept: number, lateness: number): Map<string, OwnedLock[]> {
  const { operations, holds, ends } = reading;
  const found = new Map<string, OwnedLock[]>();
  const add = (name: string, claim: OwnedLock) => {
    const own = found.get(name);
    if (own) own.push(claim);
    else found.set(name, [claim]);
  };
  for (const operation of operations) {
    const { verb, names, invokedAt, completedAt, answer } = operation;
    if (verb !== "acquire" && verb !== "set") continue;
    const open = answer === undefined || answer.outcome === "unknown";
    for (const name of names) {
      // A waiter that was told an error may be granted the name before it is removed from the queue, and one whose process
      // has died before it was, until its place expires.
      const died = (ends.get(operation.worker) ?? Infinity) - completedAt < lateness * 1e6;
      const grace = open && operation.wait ? GRACE_US + (died ? WINDOW * 1e6 : 0) : 0;
      const at = open ? lapse(operation, underWayUntil(completedAt, reading)) + kept + grace : completedAt;
      add(name, { from: invokedAt, at, of: operation });
    }
  }
  for (const hold of holds) {
    const { at, of } = spanOf(hold, ends);
    const released = releaseOf(hold)?.answer?.outcome === "done";
    // A lost hold may have a renewal under way.
    add(hold.name, { from: of.invokedAt, at: released ? at : underWayUntil(at, reading) + kept, of });
  }
  return found;
}

/** A caller is told that a name is busy only while another client may hold it or asks for it. */
export const falseBusy: Rule = (reading, { sessions, overdue, lateness }) => {
  const byName = claims(reading, sessions ? SESSION_KEPT : overdue * 1e6, lateness);
  return reading.operations.flatMap((operation): Offence[] => {
    const { verb, names: [name], invokedAt, completedAt, answer } = operation;
    if (verb !== "acquire" || answer?.outcome !== "not done") return [];
    const others = byName.get(name)!.filter(({ of }) => of !== operation);
    if (others.some(({ from, at }) => from < completedAt && at > invokedAt)) return [];
    const before = others.filter(({ at }) => at <= invokedAt).sort((one, other) => other.at - one.at).at(0);
    const last = before ? ` after ${when(before.at)}, the end of ${tellOperation(before.of)}` : "";
    return [{
      rule: "busy for no reason",
      name,
      story: `${tellOperation(operation)}: no other client wanted it${last}`,
    }];
  });
};
