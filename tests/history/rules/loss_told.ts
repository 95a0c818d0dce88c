import type { Offence, Rule } from "../checker.ts";
import type { Stalled } from "../events.ts";
import { type Hold, overlap } from "../reading.ts";
import { tellHold, when } from "../telling.ts";

/** A holder that lost its lock was told by the time when another had it, as far as its process ran at all. */
export const lossTold: Rule = ({ holds, ends, events }, { telling }) => {
  const stalls = Map.groupBy(
    events.filter((event): event is Stalled => event.kind === "stalled"),
    ({ worker }) => worker,
  );
  const late = (hold: Hold, next: Hold): Offence | undefined => {
    const end = Math.min(hold.told?.at ?? Infinity, hold.endedAt, ends.get(hold.worker) ?? Infinity);
    if (end <= next.begunAt) return undefined;
    const until = Math.min(end, events.at(-1)!.at);
    const ran = until - next.begunAt - overlap(next.begunAt, until, stalls.get(hold.worker) ?? []);
    if (ran <= telling * 1e3) return undefined;
    const told = hold.told ? `told at ${when(hold.told.at)}` : "never told";
    const story = `${tellHold(hold)} was ${told}, ${(ran / 1e3).toFixed(1)} ms after ${tellHold(next)}`;
    return { rule: "loss told", name: hold.name, story };
  };
  const offences: Offence[] = [];
  for (const own of Map.groupBy(holds, ({ name }) => name).values()) {
    const byToken = own.toSorted((a, b) => Number(a.token - b.token));
    for (const [index, hold] of byToken.entries()) {
      const next = byToken[index + 1];
      const offence = hold.listening && next ? late(hold, next) : undefined;
      if (offence) offences.push(offence);
    }
  }
  return offences;
};
