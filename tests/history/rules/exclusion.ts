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

/** Two processes took themselves for the holder at one moment. */
function overlaps(holds: readonly Hold[], outlasts: Outlasts): Offence[] {
  const offences: Offence[] = [];
  let last: Hold | undefined; // the one that was believed in for longest so far
  for (const hold of holds) {
    if (last && outlasts(last, hold.begunAt)) {
      const story = `${tellHold(hold)} while ${tellHold(last)}`;
      offences.push({ rule: "exclusion", name: hold.name, story });
    }
    if (last === undefined || hold.believedAt > last.believedAt) last = hold;
  }
  return offences;
}

/** The database showed another holder than the one who took itself for it, before and after. */
function contradictions({ operations, holds }: Reading, outlasts: Outlasts): Offence[] {
  const offences: Offence[] = [];
  for (const listing of operations) {
    for (const { name, token, lockedBy } of listing.answer?.listed ?? []) {
      const other = holds.find((hold) =>
        hold.name === name && hold.token !== BigInt(token) && hold.begunAt < listing.invokedAt &&
        outlasts(hold, listing.completedAt)
      );
      if (other === undefined) continue;
      const story = `${tellOperation(listing)} showed ${lockedBy} with token ${token} while ${tellHold(other)}`;
      offences.push({ rule: "exclusion", name, story: `${story}, ${when(listing.completedAt)}` });
    }
  }
  return offences;
}

/** At no moment do two processes hold one name. */
export const exclusion: Rule = (reading, { sessions, telling }) => {
  const outlasts = outlasting(reading, sessions, telling);
  const byName = Map.groupBy(reading.holds.filter(({ sure }) => sure), ({ name }) => name);
  return [...[...byName.values()].flatMap((own) => overlaps(own, outlasts)), ...contradictions(reading, outlasts)];
};
