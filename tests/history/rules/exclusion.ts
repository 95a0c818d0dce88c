import type { Offence, Rule } from "../checker.ts";
import type { Hold, Reading } from "../reading.ts";
import { tellHold, tellOperation, when } from "../telling.ts";

/** Two processes took themselves for the holder at one moment. */
function overlaps(holds: readonly Hold[], tolerated: number): Offence[] {
  const offences: Offence[] = [];
  let last: Hold | undefined; // the one that was believed in for longest so far
  for (const hold of holds) {
    if (last && last.believedAt - hold.begunAt > tolerated) {
      const story = `${tellHold(hold)} while ${tellHold(last)}`;
      offences.push({ rule: "exclusion", name: hold.name, story });
    }
    if (last === undefined || hold.believedAt > last.believedAt) last = hold;
  }
  return offences;
}

/** The database showed another holder than the one who took itself for it, before and after. */
function contradictions({ operations, holds }: Reading): Offence[] {
  const offences: Offence[] = [];
  for (const listing of operations) {
    for (const { name, token, lockedBy } of listing.answer?.listed ?? []) {
      const other = holds.find((hold) =>
        hold.name === name && hold.token !== BigInt(token) && hold.begunAt < listing.invokedAt &&
        hold.believedAt > listing.completedAt
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
  // Where a connection is cut, the server may know it a moment before the client does: nothing can be in front of that.
  const tolerated = sessions ? telling * 1e3 : 0;
  const byName = Map.groupBy(reading.holds.filter(({ sure }) => sure), ({ name }) => name);
  return [...[...byName.values()].flatMap((own) => overlaps(own, tolerated)), ...contradictions(reading)];
};
