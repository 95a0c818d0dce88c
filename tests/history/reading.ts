/**
 * A history put in order: operations with their answers, and holds with what became of them.
 *
 * @module
 */
import type { Completed, HistoryEvent, HoldEdge, Invoked, Stalled } from "./events.ts";

/** One operation, with its answer if there was one. */
export interface Operation extends Omit<Invoked, "kind" | "at"> {
  readonly invokedAt: number;
  /** When the answer was there; without one, when its worker ended. */
  readonly completedAt: number;
  /** Without an answer it is unknown what it did. */
  readonly answer: Completed | undefined;
}

/** One acquisition that its worker was told of. */
export interface Hold {
  readonly worker: string;
  readonly name: string;
  readonly token: bigint;
  /** The operation that granted it. */
  readonly grant: Operation;
  /** How many may hold the name at once, by what it asked for. */
  readonly limit: number;
  /** Whether its worker took itself for the holder when it began: an answer may come when all is over. */
  readonly sure: boolean;
  /** Whether somebody listened for its loss. */
  readonly listening: boolean;
  /** From when until when its worker surely took itself for the holder; the same when it never looked. */
  readonly begunAt: number;
  readonly believedAt: number;
  /** When it began to give it back; `Infinity` if never. */
  readonly endedAt: number;
  /** When its loss was told, and why. */
  readonly told: { readonly at: number; readonly reason: string } | undefined;
  /** Operations on it, in order. */
  readonly operations: readonly Operation[];
}

/** How many an operation lets hold its name at once. */
export function limitOf({ limit }: Pick<Operation, "limit">): number {
  return limit === null ? Infinity : limit ?? 1;
}

/** Whether two holds can never be at one time. */
export function exclude(one: Hold, two: Hold): boolean {
  return Math.min(one.limit, two.limit) === 1;
}

/** What the rules are decided from. */
export interface Reading {
  readonly operations: readonly Operation[];
  /** Ordered by when they began. */
  readonly holds: readonly Hold[];
  /** When each worker ended. */
  readonly ends: ReadonlyMap<string, number>;
  /** Everything else. */
  readonly events: readonly HistoryEvent[];
  /** What does not fit together at all. */
  readonly misfits: readonly string[];
}

const key = (worker: string, detail: unknown) => `${worker} ${detail}`;

function readOperations(events: readonly HistoryEvent[], ends: ReadonlyMap<string, number>) {
  const answers = new Map<string, Completed>();
  const invoked = new Map<string, Invoked>();
  const misfits: string[] = [];
  for (const event of events) {
    if (event.kind === "invoked") {
      if (invoked.has(key(event.worker, event.id))) misfits.push(`operation ${event.worker}/${event.id} began twice`);
      invoked.set(key(event.worker, event.id), event);
    }
    if (event.kind !== "completed") continue;
    const id = key(event.worker, event.id);
    if (!invoked.has(id)) misfits.push(`operation ${event.worker}/${event.id} was answered, but never asked`);
    if (answers.has(id)) misfits.push(`operation ${event.worker}/${event.id} was answered twice`);
    answers.set(id, event);
  }
  const operations = [...invoked.values()].map((question): Operation => {
    const { kind: _, at, ...rest } = question;
    const answer = answers.get(key(question.worker, question.id));
    return { ...rest, invokedAt: at, completedAt: answer?.at ?? ends.get(question.worker) ?? Infinity, answer };
  });
  return { operations, misfits };
}

function readHold(begin: HoldEdge, events: readonly HistoryEvent[], grant: Operation, all: readonly Operation[]): Hold {
  let [believedAt, endedAt] = [begin.at, Infinity];
  let told: Hold["told"];
  for (const event of events) {
    if (event.kind === "believed") believedAt = Math.max(believedAt, event.at);
    if (event.kind === "hold ended") endedAt = Math.min(endedAt, event.at);
    if (event.kind === "loss told") told ??= { at: event.at, reason: event.reason };
  }
  const token = BigInt(begin.token);
  const operations = all.filter((operation) => operation.token === begin.token && operation.names[0] === begin.name);
  const { worker, name, listening = false, held = false, at } = begin;
  return {
    worker,
    name,
    token,
    grant,
    limit: limitOf(grant),
    sure: held,
    listening,
    begunAt: at,
    believedAt,
    endedAt,
    told,
    operations,
  };
}

/** Puts a history in order. */
export function read(history: readonly HistoryEvent[]): Reading {
  const events = [...history].sort((a, b) => a.at - b.at);
  const ends = new Map<string, number>();
  for (const event of events) if (event.kind === "ended") ends.set(event.worker, event.at);
  const { operations, misfits } = readOperations(events, ends);
  const grants = new Map<string, Operation>();
  for (const operation of operations) {
    for (const { name, token } of operation.answer?.granted ?? []) {
      grants.set(key(operation.worker, `${name} ${token}`), operation);
    }
  }
  const ofHold = Map.groupBy(
    events.filter((event) => "token" in event && event.kind !== "invoked"),
    (event) => key((event as HoldEdge).worker, `${(event as HoldEdge).name} ${(event as HoldEdge).token}`),
  );
  const byToken = Map.groupBy(operations, ({ worker, names, token }) => key(worker, `${names[0]} ${token}`));
  const holds: Hold[] = [];
  for (const [id, own] of ofHold) {
    const begin = own.find((event) => event.kind === "hold began") as HoldEdge | undefined;
    const grant = grants.get(id);
    if (begin && grant) holds.push(readHold(begin, own, grant, byToken.get(id) ?? []));
    else misfits.push(`${id} was held, but never granted`);
  }
  holds.sort((a, b) => a.begunAt - b.begunAt);
  return { operations, holds, ends, events, misfits };
}

/**
 * For each worker when it did not run. What stands between it and its database (`tests`) stood still for all of them.
 */
export function stallsOf({ events }: Reading): (worker: string) => Stalled[] {
  const stalls = events.filter((event): event is Stalled => event.kind === "stalled");
  return (worker) => stalls.filter((stall) => stall.worker === worker || stall.worker === "tests");
}

/** How long of `from` to `to` lies within the given spans. */
export function overlap(from: number, to: number, spans: readonly { from: number; at: number }[]): number {
  let [sum, seen] = [0, from];
  for (const span of [...spans].sort((a, b) => a.from - b.from)) {
    const end = Math.min(span.at, to);
    if (end <= seen) continue;
    sum += Math.max(0, end - Math.max(span.from, seen));
    seen = Math.max(seen, end);
  }
  return sum;
}
