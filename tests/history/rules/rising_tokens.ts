import type { Offence, Rule } from "../checker.ts";
import { type Hold, overlap, type Reading, stallsOf } from "../reading.ts";
import { tellHold } from "../telling.ts";

/** Whether a process may have begun so late to take itself for the holder although another had begun before. */
type Belated = (hold: Hold, since: number) => boolean;

/**
 * A holder that trusts a clock never begins when another has begun. One that trusts a connection may: when its process
 * runs again it finds the answer first, and then that the connection has ended.
 */
function belatedIn(reading: Reading, sessions: boolean, telling: number): Belated {
  if (!sessions) return () => false;
  const stalls = stallsOf(reading);
  return (hold, since) => hold.begunAt - since - overlap(since, hold.begunAt, stalls(hold.worker)) <= telling * 1e3;
}

/**
 * Which of two acquisitions came first: the one that had ended before the other was asked for, or whose holder
 * believed in it and had begun before. One whose answer came when it had lapsed already says nothing by its time.
 */
function inOrder(holds: readonly Hold[], belated: Belated): Offence[] {
  const offences: Offence[] = [];
  let [ofAll, ofExclusive]: (Hold | undefined)[] = []; // those that may be held together are granted in any order
  for (const hold of holds.filter(({ sure }) => sure)) {
    const highest = hold.limit === 1 ? ofAll : ofExclusive;
    if (highest && hold.token <= highest.token && !belated(hold, highest.begunAt)) {
      offences.push({ rule: "rising tokens", name: hold.name, story: `${tellHold(hold)} after ${tellHold(highest)}` });
    }
    if (ofAll === undefined || hold.token > ofAll.token) ofAll = hold;
    if (hold.limit === 1 && (ofExclusive === undefined || hold.token > ofExclusive.token)) ofExclusive = hold;
  }
  return offences;
}

/** The same by the answers alone: an acquisition that was answered before another was asked for came first. */
function byAnswers(holds: readonly Hold[]): Offence[] {
  const asked = holds.toSorted((a, b) => a.grant.invokedAt - b.grant.invokedAt);
  const answered = holds.toSorted((a, b) => a.grant.completedAt - b.grant.completedAt);
  const offences: Offence[] = [];
  let index = 0;
  let highest: Hold | undefined;
  for (const hold of asked) {
    for (; index < answered.length && answered[index].grant.completedAt < hold.grant.invokedAt; index++) {
      if (highest === undefined || answered[index].token > highest.token) highest = answered[index];
    }
    if (highest && hold.token <= highest.token) {
      offences.push({ rule: "rising tokens", name: hold.name, story: `${tellHold(hold)} after ${tellHold(highest)}` });
    }
  }
  return offences;
}

function repeated(holds: readonly Hold[]): Offence[] {
  const seen = new Map<bigint, Hold>();
  const offences: Offence[] = [];
  for (const hold of holds) {
    const first = seen.get(hold.token);
    if (first) {
      const story = `${tellHold(hold)} has the token of ${tellHold(first)}`;
      offences.push({ rule: "rising tokens", name: hold.name, story });
    } else seen.set(hold.token, hold);
  }
  return offences;
}

/** For one name, tokens strictly rise in the order of acquisitions. */
export const risingTokens: Rule = (reading, { sessions, telling }) => {
  const belated = belatedIn(reading, sessions, telling);
  return [...Map.groupBy(reading.holds, ({ name }) => name).values()].flatMap((own) => {
    const offences = [...repeated(own), ...inOrder(own, belated), ...byAnswers(own)];
    return [...new Map(offences.map((offence) => [offence.story, offence])).values()];
  });
};
