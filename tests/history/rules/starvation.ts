import type { Offence, Rule, Tolerance } from "../checker.ts";
import { type Hold, type Operation, overlap, type Reading } from "../reading.ts";
import { tellOperation, when } from "../telling.ts";

/** A time in which a name may have been held. */
interface Span {
  readonly from: number;
  readonly at: number;
  /** The operation that it is of. */
  readonly of: Operation;
}

/** Until when a lease may last that an operation asked for, at the latest. */
const lapse = ({ completedAt, expires }: Operation, from = completedAt) =>
  expires === null ? Infinity : from + (expires ?? 0) * 1e6;

/** From the answer to the release, or to the latest moment at which it can have lapsed. */
function spanOf(hold: Hold, ends: Reading["ends"]): Span {
  const { grant, operations } = hold;
  const release = operations.find(({ verb, answer }) => verb === "release" && answer && answer.outcome !== "unknown");
  if (release) return { from: grant.completedAt, at: release.completedAt, of: grant };
  const died = ends.get(hold.worker) ?? Infinity;
  const lasting = grant.autoRenew || grant.expires === undefined; // kept for as long as its process lives
  const own = lapse(grant, lasting ? Math.min(died, hold.told?.at ?? Infinity) : grant.completedAt);
  const renewals = operations.filter(({ verb }) => verb === "renew").map((renewal) => lapse(renewal));
  return { from: grant.completedAt, at: Math.max(own, ...renewals), of: grant };
}

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
