import { GRACE_US } from "../../../backends/shared/line.ts";
import type { Offence, Rule, Tolerance } from "../checker.ts";
import { type Operation, overlap, type Reading } from "../reading.ts";
import { lapse, type Span, spanOf, WINDOW } from "../spans.ts";
import { tellOperation, when } from "../telling.ts";

/** What is not known to have been granted, and may have been. */
function maybes(operations: readonly Operation[]): [string, Span][] {
  const open = operations.filter(({ verb, answer }) =>
    (verb === "acquire" || verb === "set") && (answer === undefined || answer.outcome === "unknown")
  );
  return open.flatMap((of) =>
    of.names.map((name): [string, Span] => [name, { from: of.invokedAt, at: lapse(of), of }])
  );
}

function* gaps(spans: readonly Span[], from: number, to: number): Generator<[number, number]> {
  let free = from;
  for (const span of spans.toSorted((a, b) => a.from - b.from)) {
    if (span.from > free) yield [free, Math.min(span.from, to)];
    free = Math.max(free, span.at);
    if (free >= to) return;
  }
  yield [free, to];
}

/** A waiter may have joined the queue before another that asked so much (µs) earlier. */
const JOINING = 1e6;

/**
 * Returns how long dead waiters before this one may keep the name in a gap (µs): each is granted it once, for the grace.
 * One with a session leaves the queue with that.
 */
function graceOfDead({ operations, ends }: Reading, waiter: Operation, from: number): number {
  const [name] = waiter.names;
  const dead = operations.filter(({ verb, names, wait, answer, worker, invokedAt, completedAt }) =>
    verb === "acquire" && names[0] === name && (wait ?? 0) > 0 && answer === undefined && ends.has(worker) &&
    invokedAt < waiter.invokedAt + JOINING && completedAt > from - WINDOW * 1e6
  );
  return dead.reduce((sum, { expires }) => sum + Math.min((expires ?? Infinity) * 1e6, GRACE_US), 0);
}

/** Nobody waits for a name that is free. */
export const starvation: Rule = (reading, { waiting, sessions }: Required<Tolerance>) => {
  const { operations, holds, ends, events } = reading;
  const spans: [string, Span][] = [
    ...holds.map((hold): [string, Span] => [hold.name, spanOf(hold, ends)]),
    ...maybes(operations),
  ];
  const byName = Map.groupBy(spans, ([name]) => name);
  const disturbed = events.filter((event) => event.kind === "disturbed" || event.kind === "stalled");
  const offences: Offence[] = [];
  for (const waiter of operations.filter(({ verb, wait }) => verb === "acquire" && (wait ?? 0) > 0)) {
    const [name] = waiter.names;
    const others = (byName.get(name) ?? []).map(([, span]) => span).filter(({ of }) => of !== waiter);
    const end = Math.min(waiter.completedAt, events.at(-1)!.at);
    for (const [from, to] of gaps(others, waiter.invokedAt, end)) {
      const excess = to - from - overlap(from, to, disturbed) - waiting * 1e6;
      if (excess <= 0 || (!sessions && excess <= graceOfDead(reading, waiter, from))) continue;
      const story = `${tellOperation(waiter)} waited while it was free from ${when(from)} to ${when(to)}`;
      offences.push({ rule: "no starvation", name, story });
    }
  }
  return offences;
};
