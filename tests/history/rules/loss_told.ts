import type { Offence, Rule } from "../checker.ts";
import { exclude, type Hold, overlap, stallsOf } from "../reading.ts";
import { tellHold, when } from "../telling.ts";

/** A holder that lost its lock was told by the time when another had it, as far as its process ran at all. */
export const lossTold: Rule = (reading, { telling }) => {
  const { holds, events } = reading;
  // One that was killed may have stood still since its last sign of life: nobody was left to write that down.
  const signs = new Map<string, number>();
  for (const event of events) if (event.kind !== "ended" && "worker" in event) signs.set(event.worker, event.at);
  const stalls = stallsOf(reading);
  const late = (hold: Hold, next: Hold): Offence | undefined => {
    const end = Math.min(hold.told?.at ?? Infinity, hold.endedAt, signs.get(hold.worker) ?? 0);
    const from = Math.max(next.begunAt, hold.begunAt); // a late answer brings a handle of a lock that is lost already
    if (end <= from) return undefined;
    const ran = end - from - overlap(from, end, stalls(hold.worker));
    if (ran <= telling * 1e3) return undefined;
    const told = hold.told ? `told at ${when(hold.told.at)}` : "never told";
    const story = `${tellHold(hold)} was ${told}, ${(ran / 1e3).toFixed(1)} ms after ${tellHold(next)}`;
    return { rule: "loss told", name: hold.name, story };
  };
  const offences: Offence[] = [];
  for (const own of Map.groupBy(holds, ({ name }) => name).values()) {
    const byToken = own.toSorted((a, b) => Number(a.token - b.token));
    for (const [index, hold] of byToken.entries()) {
      const next = byToken.slice(index + 1).find((other) => exclude(hold, other));
      const offence = hold.listening && next ? late(hold, next) : undefined;
      if (offence) offences.push(offence);
    }
  }
  return offences;
};
