import type { Offence, Rule, Tolerance } from "../checker.ts";
import { type Operation, overlap } from "../reading.ts";
import { lapse, type Span, spanOf } from "../spans.ts";
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

/** Nobody waits for a name that is free. */
export const starvation: Rule = (
  { operations, holds, ends, events },
  { waiting }: Required<Tolerance>,
) => {
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
      if (to - from - overlap(from, to, disturbed) <= waiting * 1e6) continue;
      const story = `${tellOperation(waiter)} waited while it was free from ${when(from)} to ${when(to)}`;
      offences.push({ rule: "no starvation", name, story });
    }
  }
  return offences;
};
