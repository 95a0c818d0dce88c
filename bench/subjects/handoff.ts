/**
 * Eight processes that want one name: how often it changes hands, and how long a queue of 64 takes.
 *
 * @module
 */
import { sharedClock } from "../../tests/history/clock.ts";
import type { CrowdOrder, Hold } from "../measures/crowd.ts";
import type { Places } from "../places.ts";
import { atLeast, atMost, type Bar, figure, type Section, spread, subject, type Target } from "../section.ts";
import { fairness, quantile, type Quartiles, quartiles } from "../statistics.ts";
import { here, startWorker, type Worker } from "../workers.ts";
import { answersOf, kindOf } from "./pairs.ts";

const PROCESSES = 8;
/** Waiters in each process, in the loop and in the line. */
const LOOPING = 64;
const IN_LINE = 8;
/** How long each of the line holds the name (ms). */
const HOLD = 2;

/** How long the first loop goes on, and the second one at most (ms), and how many turns each waiter shall have in both. */
const LOOP = 2_000;
const LONGEST = 12_000;
const TURNS = 4;

/** One hold, and in which process. */
type Held = readonly [process: number, ...Hold];

/** What came of one contestant. */
interface Came {
  /** Milliseconds from a release to the next holder: quartiles and the slowest of a hundred. */
  readonly handOff: Quartiles;
  readonly slow: number;
  readonly handOffsPerSecond: number;
  /** The share of hand-offs from one process to another. */
  readonly crossing: number;
  readonly fairness: number;
  readonly overlaps: number;
  /** Milliseconds until a queue of 64 has been served. */
  readonly drain: Quartiles;
  /** Milliseconds of it in which somebody held the name. */
  readonly holding: Quartiles;
}

/** By contestant. */
type Raw = Record<string, Came>;

/** What one contestant did in all rounds. */
interface Rounds {
  readonly latencies: number[];
  readonly counts: Map<string, number>;
  readonly drains: number[];
  readonly holdings: number[];
  crossed: number;
  overlaps: number;
  seconds: number;
}

/** Lets all workers do the same thing at the same time. */
async function together(workers: readonly Worker[], order: Omit<CrowdOrder, "from" | "until">, milliseconds?: number) {
  const from = sharedClock() + 150e3; // time for the orders to arrive, and for each to warm up
  const until = milliseconds === undefined ? {} : { until: from + milliseconds * 1e3 };
  const answers = await Promise.all(
    workers.map((worker) => worker.do<Hold[]>({ do: "crowd", with: { ...order, from, ...until } })),
  );
  const held = answers.flatMap((holds, process) => holds.map((hold): Held => [process, ...hold]));
  return { from, held: held.sort((a, b) => a[2] - b[2]) };
}

function overlapsOf(held: readonly Held[]): number {
  return held.filter(([, , from], index) => index > 0 && from < held[index - 1][3]).length;
}

/** How long the second loop goes on, so that each waiter has several turns: with one or two nothing looks fair. */
function longEnough({ latencies, seconds }: Rounds): number {
  const missing = TURNS * PROCESSES * LOOPING - latencies.length;
  return Math.min(Math.max(missing / latencies.length * seconds * 1e3, LOOP), LONGEST);
}

/** Adds a round of the loop, as far as it was within its time. */
function addLoop(rounds: Rounds, held: readonly Held[], end: number): void {
  rounds.overlaps += overlapsOf(held);
  for (const [index, [process, waiter, from]] of held.entries()) {
    if (index === 0 || from > end) continue;
    const before = held[index - 1];
    rounds.latencies.push((from - before[3]) / 1e3);
    if (before[0] !== process) rounds.crossed++;
    rounds.counts.set(`${process} ${waiter}`, (rounds.counts.get(`${process} ${waiter}`) ?? 0) + 1);
  }
}

function addLine(rounds: Rounds, held: readonly Held[], from: number): void {
  rounds.overlaps += overlapsOf(held);
  if (held.length !== PROCESSES * IN_LINE) throw new Error(`A line of ${PROCESSES * IN_LINE} had ${held.length} holds`);
  rounds.drains.push((Math.max(...held.map(([, , , , answered]) => answered)) - from) / 1e3);
  rounds.holdings.push(held.reduce((sum, [, , from, until]) => sum + until - from, 0) / 1e3);
}

function cameOf({ latencies, counts, drains, holdings, crossed, overlaps, seconds }: Rounds): Came {
  const shares = [...counts.values(), ...Array(PROCESSES * LOOPING - counts.size).fill(0)];
  return {
    handOff: quartiles(latencies),
    slow: quantile(latencies, 0.99),
    handOffsPerSecond: latencies.length / seconds,
    crossing: crossed / latencies.length,
    fairness: fairness(shares),
    overlaps,
    drain: quartiles(drains),
    holding: quartiles(holdings),
  };
}

async function measure(places: Places, quick: boolean): Promise<Raw> {
  await using stack = new AsyncDisposableStack();
  const workers = Array.from({ length: PROCESSES }, () => stack.use(startWorker(here)));
  const opening = { places, name: "", waiters: 0, from: 0, hold: 0 };
  const opened = await Promise.all(workers.map((worker) => worker.do<string[]>({ do: "crowd", with: opening })));
  const all = new Map(opened[0].map((label): [string, Rounds] => [label, {
    latencies: [],
    counts: new Map(),
    drains: [],
    holdings: [],
    crossed: 0,
    overlaps: 0,
    seconds: 0,
  }]));
  const [loops, lines, shortest] = quick ? [1, 1, 200] : [2, 5, LOOP];
  for (let round = 0; round < lines; round++) {
    for (const [label, rounds] of all) {
      const order = { places, label, name: `crowd ${round}` };
      if (round < loops) {
        const milliseconds = round === 0 ? shortest : longEnough(rounds);
        const { held, from } = await together(workers, { ...order, waiters: LOOPING, hold: 0 }, milliseconds);
        addLoop(rounds, held, from + milliseconds * 1e3);
        rounds.seconds += milliseconds / 1e3;
      }
      const line = { ...order, name: `line ${round}`, waiters: IN_LINE, hold: HOLD };
      const { held, from } = await together(workers, line);
      addLine(rounds, held, from);
    }
  }
  return Object.fromEntries([...all].map(([label, rounds]) => [label, cameOf(rounds)]));
}

/** The server's own lock that a mode is measured against. */
function bareFor(label: string): string | undefined {
  if (label.startsWith("PostgreSQL")) return "pg_advisory_lock, bare";
  const engine = ["MySQL", "MariaDB"].find((engine) => label.startsWith(engine));
  return engine && `GET_LOCK of ${engine}, bare`;
}

function targetsOf(raw: Raw): Target[] {
  return Object.entries(raw).filter(([label]) => kindOf(label) === "ours").flatMap(([label, came]) => {
    const bare = raw[bareFor(label) ?? ""];
    const where = `${label}, ${PROCESSES} processes`;
    return [
      atMost(5, `${where}, holds that overlapped`, 0, came.overlaps),
      atLeast(5, `${where}, Jain's index`, 0.95, came.fairness),
      ...bare ? [atMost(5, `${where}, queue of 64 against bare`, 1.6, came.drain.median / bare.drain.median)] : [],
    ];
  });
}

/** What is left between a line and the holds in it, for each of its hand-offs. */
function leftOver({ drain, holding }: Came): string {
  return figure((drain.median - holding.median) / (PROCESSES * IN_LINE));
}

function describe(raw: Raw): Section {
  const rows = Object.entries(raw).map(([label, came]) => [
    label,
    figure(came.handOffsPerSecond),
    `${figure(came.handOff.median)} / ${figure(came.slow)}`,
    `${Math.round(came.crossing * 100)} %`,
    came.fairness.toFixed(2),
    String(came.overlaps),
    spread(came.drain),
    leftOver(came),
  ]);
  const bars = Object.entries(raw).map(([label, { drain }]): Bar => ({
    label,
    kind: label.endsWith("bare") ? "floor" : kindOf(label),
    ...drain,
  }));
  const bare = Object.entries(raw).filter(([label]) => label.endsWith("bare"))
    .map(([label, came]) => `${label}: ${leftOver(came)} ms`);
  return {
    title: "Eight processes and one name",
    text: [
      "In the loop, 64 waiters in each of eight processes acquire the name again and again and release it at once. A " +
      "hand-off lasts from the call of a release until the next holder runs. Many hand-offs a second alone are no " +
      "merit: a library that polls passes the name around within one process, past the waiters of the others. Its " +
      "share of hand-offs that cross processes is then low, and so is Jain's index (1: all waiters got the same " +
      "number; 0.002: one got all). SQLite waiters of other processes poll.",
      `In the queue, 64 callers (8 in each process) come at once and hold the name once, for ${HOLD} ms. The last ` +
      "column is the time per hand-off besides the holds. Its lower limit is that of the server's own lock " +
      `(${bare.join("; ")}); the rest is the commit of a durable row and the statements that find the next holder.`,
    ],
    tables: [{
      head: [
        "8 processes, Deno",
        "hand-offs/s",
        "ms, median / p99",
        "crossing",
        "Jain",
        "overlaps",
        "queue of 64, ms",
        "besides holds, ms each",
      ],
      rows,
    }],
    plots: [{
      name: "line",
      title: "A queue of 64 callers in 8 processes, 2 ms each",
      axis: "ms until all have held the name, less is better",
      bars,
    }],
    targets: targetsOf(raw),
    short: {
      question: "until the next waiter runs",
      answers: answersOf(raw, (came) => `${leftOver(came)} ms`),
    },
  };
}

export const handoff = subject<Raw>({
  name: "hand-off",
  measure: ({ places }, quick) => measure(places, quick),
  describe,
});
