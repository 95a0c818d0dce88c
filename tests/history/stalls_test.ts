import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { sharedClock } from "./clock.ts";
import type { HistoryEvent } from "./events.ts";
import { stallsFirst, watchStalls } from "./stalls.ts";

/** Keeps the process from all else, for longer than a stall takes to be one (µs). */
function standStill(): { from: number; to: number } {
  const from = sharedClock();
  let to = from;
  while (to - from < 30_000) to = sharedClock();
  return { from, to };
}

/** Whether an event says that the process did not run in all of this time. */
function covers(event: HistoryEvent, { from, to }: { from: number; to: number }): boolean {
  return event.kind === "stalled" && event.worker === "w" && event.from <= from && event.at >= to;
}

test("recorder: a stall is written before what the process does next, at its next turn, or at its end", async () => {
  const events: HistoryEvent[] = [];
  let onEvent = () => {};
  const sink = (event: HistoryEvent) => {
    events.push(event);
    onEvent();
  };
  const stalls = watchStalls("w", sink);
  const write = stallsFirst(sink, () => stalls);
  const next: HistoryEvent = { kind: "ended", at: 0, worker: "w" };

  const first = standStill();
  write(next); // the process may be killed before any timer runs
  assert(covers(events[0], first), JSON.stringify(events));
  assert.deepEqual(events.slice(1), [next]);

  const written = new Promise<void>((resolve) => onEvent = resolve);
  const second = standStill();
  await written;
  assert(covers(events[2], second), JSON.stringify(events));

  const last = standStill();
  stalls[Symbol.dispose]();
  assert(covers(events.at(-1)!, last), JSON.stringify(events));

  stallsFirst(sink, () => undefined)(next);
  assert.equal(events.at(-1), next);
});
