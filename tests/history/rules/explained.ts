import type { Offence, Rule } from "../checker.ts";
import type { Disturbed, HistoryEvent, Stalled } from "../events.ts";
import { type Hold, type Operation, overlap, type Reading, stallsOf } from "../reading.ts";
import { tellHold, tellOperation } from "../telling.ts";

/**
 * A process gives a lease up a little before the server does: 1 %, at least 5 ms and at most 1 s; twice that is allowed
 * here (µs).
 */
function early(lease: number): number {
  return 2 * Math.min(Math.max(lease * 0.01, 5_000), 1_000_000);
}

/** Until when the server must keep a lock, given what it confirmed before `at`. */
function keptUntil({ grant, operations }: Hold, at: number): number {
  const confirmed = [grant, ...operations.filter(({ verb, answer }) => verb === "renew" && answer?.outcome === "done")];
  const times = confirmed.filter(({ completedAt }) => completedAt <= at).map(({ invokedAt, expires }) =>
    expires ? invokedAt + expires * 1e6 - early(expires * 1e6) : Infinity
  );
  return Math.max(...times);
}

/** A session may end when its process does not run for as long as this (µs): trials ask for sessions of 6 s. */
const LONG_STALL = 1e6;

/** What may end a session, and with it what rides on it: a connection that was in somebody's way, or a long pause. */
function endsOfSessions(events: readonly HistoryEvent[]): (hold: Hold, at: number) => boolean {
  const harmful = events.filter((event) =>
    event.kind === "disturbed" || (event.kind === "stalled" && event.at - event.from > LONG_STALL)
  ) as (Disturbed | Stalled)[];
  return ({ worker, grant }, at) =>
    harmful.some((event) =>
      event.from < at && event.at > grant.invokedAt && (event.kind === "disturbed" || event.worker === worker)
    );
}

/** A lock that was confirmed and then was gone before its time, although nobody had given it back. */
function vanished(
  hold: Hold,
  forces: readonly Operation[],
  mayHaveEnded: (hold: Hold, at: number) => boolean,
): Offence | undefined {
  if (!hold.sure) return undefined; // its answer came so late that nobody took it for held
  const own = hold.operations.toSorted((a, b) => a.invokedAt - b.invokedAt);
  const release = own.findIndex(({ verb }) => verb === "release");
  const asked = release < 0 ? own : own.slice(0, release + 1);
  const gone = asked.find(({ answer, completedAt }) =>
    answer?.outcome === "not done" && completedAt < keptUntil(hold, completedAt)
  );
  if (gone === undefined || mayHaveEnded(hold, gone.completedAt)) return undefined;
  const forced = forces.some(({ names, invokedAt, completedAt }) =>
    names[0] === hold.name && invokedAt < gone.completedAt && completedAt > hold.grant.invokedAt
  );
  if (forced) return undefined;
  return { rule: "explained", name: hold.name, story: `${tellHold(hold)} was gone: ${tellOperation(gone)}` };
}

/** One acquisition is given back at most once. */
function releasedTwice(hold: Hold): Offence | undefined {
  const done = hold.operations.filter(({ verb, answer }) => verb === "release" && answer?.outcome === "done");
  if (done.length < 2) return undefined;
  return { rule: "explained", name: hold.name, story: `released twice: ${done.map(tellOperation).join(" and ")}` };
}

/**
 * Whether a waiter that gave up may still be in the database's queue, and be granted the name: it leaves after its caller
 * was told, and tries again after pauses as long as the database is out of reach.
 */
function leaving({ events, ends, ...reading }: Reading, lateness: number): (waiter: Operation, at: number) => boolean {
  const queued = new Set(events.map((event) => event.kind === "queued" ? event.lockedBy : undefined));
  const disturbed = events.filter((event) => event.kind === "disturbed");
  const stalls = stallsOf({ events, ends, ...reading });
  return ({ lockedBy, worker, completedAt }, at) => {
    if (!queued.has(lockedBy)) return false;
    if ((ends.get(worker) ?? Infinity) - completedAt < lateness * 1e6) return true; // it died with its place
    const away = overlap(completedAt, at, [...disturbed, ...stalls(worker)]);
    return at - completedAt - 2 * away <= lateness * 1e6;
  };
}

/** What the database shows was asked for by somebody who was not refused. */
function shownThough(reading: Reading, lateness: number): Offence[] {
  const { operations } = reading;
  const isLeaving = leaving(reading, lateness);
  const byOwner = new Map(operations.map((operation) => [operation.lockedBy, operation]));
  const offences: Offence[] = [];
  for (const listing of operations) {
    for (const { name, lockedBy, token } of listing.answer?.listed ?? []) {
      const origin = byOwner.get(lockedBy);
      const refused = origin?.answer?.outcome === "not done" && origin.completedAt < listing.invokedAt &&
        !isLeaving(origin, listing.invokedAt);
      if (origin?.names.includes(name) && !refused) continue;
      const rule = origin?.verb === "set" ? "all or nothing" : "explained";
      const why = origin ? `although ${tellOperation(origin)}` : "whom nobody knows";
      const story = `${tellOperation(listing)} showed token ${token} of ${lockedBy}, ${why}`;
      offences.push({ rule, name, story });
    }
  }
  return offences;
}

/** A grant is of what was asked for: one name, or all of them. */
function grantedOtherwise({ operations }: Reading): Offence[] {
  return operations.filter(({ answer }) => answer?.granted).flatMap((operation): Offence[] => {
    const granted = operation.answer!.granted!.map(({ name }) => name);
    const wanted = [...new Set(operation.names)];
    if (granted.length === wanted.length && wanted.every((name) => granted.includes(name))) return [];
    const rule = operation.verb === "set" ? "all or nothing" : "explained";
    return [{ rule, name: wanted.join(), story: `${tellOperation(operation)} was granted ${granted.join()}` }];
  });
}

/** Every operation that was answered is explained by the others. */
export const explained: Rule = (reading, { sessions, lateness }) => {
  const forces = reading.operations.filter(({ verb }) => verb === "force");
  const misfits = reading.misfits.map((story): Offence => ({ rule: "explained", name: "", story }));
  const mayHaveEnded = sessions ? endsOfSessions(reading.events) : () => false;
  const found = reading.holds.flatMap((hold) => [vanished(hold, forces, mayHaveEnded), releasedTwice(hold)]);
  return [
    ...misfits,
    ...found.filter((offence) => offence !== undefined),
    ...shownThough(reading, lateness),
    ...grantedOtherwise(reading),
  ];
};
