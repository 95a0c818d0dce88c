import type { Offence, Rule } from "../checker.ts";
import { type Hold, overlap, type Reading, stallsOf } from "../reading.ts";
import { tellHold, tellOperation, when } from "../telling.ts";

/** Whether a process took itself for the holder for longer than may be after a moment at which it cannot have been. */
type Outlasts = (hold: Hold, since: number) => boolean;

/**
 * A lease ends by a clock that its holder reads: not a microsecond is allowed. What ends with a connection is known to
 * the server first; the holder can know of it when it runs and its event loop has come round to the socket.
 */
function outlasting(reading: Reading, sessions: boolean, telling: number): Outlasts {
  if (!sessions) return (hold, since) => hold.believedAt > since;
  const stalls = stallsOf(reading);
  return (hold, since) =>
    hold.believedAt > since &&
    hold.believedAt - since - overlap(since, hold.believedAt, stalls(hold.worker)) > telling * 1e3;
}

/** More processes took themselves for the holder at one moment than one of them admits. */
function overlaps(holds: readonly Hold[], outlasts: Outlasts): Offence[] {
  const offences: Offence[] = [];
  let present: Hold[] = [];
  for (const hold of holds) {
    present = present.filter((other) => outlasts(other, hold.begunAt));
    if (present.length + 1 > Math.min(hold.limit, ...present.map(({ limit }) => limit))) {
      const story = `${tellHold(hold)} while ${present.map(tellHold).join(" and ")}`;
      offences.push({ rule: "exclusion", name: hold.name, story });
    }
    present.push(hold);
  }
  return offences;
}

/** The database showed another holder than the one who took itself for it, before and after. */
function contradictions({ operations, holds }: Reading, outlasts: Outlasts): Offence[] {
  const offences: Offence[] = [];
  for (const listing of operations) {
    for (const { name, token, lockedBy, limit } of listing.answer?.listed ?? []) {
      const other = holds.find((hold) =>
        hold.name === name && hold.token !== BigInt(token) && Math.min(hold.limit, limit ?? Infinity) === 1 &&
        hold.begunAt < listing.invokedAt &&
        outlasts(hold, listing.completedAt)
      );
      if (other === undefined) continue;
      const story = `${tellOperation(listing)} showed ${lockedBy} with token ${token} while ${tellHold(other)}`;
      offences.push({ rule: "exclusion", name, story: `${story}, ${when(listing.completedAt)}` });
    }
  }
  return offences;
}

/** At no moment do more processes hold one name than each of them admits. */
export const exclusion: Rule = (reading, { sessions, telling }) => {
  const outlasts = outlasting(reading, sessions, telling);
  const byName = Map.groupBy(reading.holds.filter(({ sure }) => sure), ({ name }) => name);
  return [...[...byName.values()].flatMap((own) => overlaps(own, outlasts)), ...contradictions(reading, outlasts)];
};
