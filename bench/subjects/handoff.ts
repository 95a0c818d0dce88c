/**
 * Eight processes that want one name: how often it changes hands, and how long a queue of 64 takes.
 *
 * @module
 */
import { CrowdProcesses, type Held, lapFairness, PROCESSES } from "../crowds.ts";
import type { Places } from "../places.ts";
import { atLeast, atMost, type Bar, figure, type Section, spread, subject, type Target } from "../section.ts";
import { quantile, type Quartiles, quartiles } from "../statistics.ts";
import { answersOf, kindOf } from "./pairs.ts";

/** Waiters in each process, in the loop and in the line. */
const LOOPING = 64;
const IN_LINE = 8;
/** How long each of the line holds the name (ms). */
const HOLD = 2;

/**
 * How long the first loop goes on, and the second one at most (ms), and how many laps the second one is to have: the
 * first of them is not judged, and with one or two nothing looks fair that is left to chance.
 */
const LOOP = 2_000;
const LONGEST = 12_000;
const LAPS = 4;

/** What came of one contestant. */
interface Came {
  /** Milliseconds from a release to the next holder: quartiles and the slowest of a hundred. */
  readonly handOff: Quartiles;
  readonly slow: number;
  readonly handOffsPerSecond: number;
  /** The share of hand-offs from one process to another. */
  readonly crossing: number;
  /** Jain's index of the waiters' holds. */
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
  readonly drains: number[];
  readonly holdings: number[];
  crossed: number;
  /** Of the last loop, which is the longest. */
  fairness: number;
  overlaps: number;
  seconds: number;
}

function overlapsOf(held: readonly Held[]): number {
  return held.filter(([, , from], index) => index > 0 && from < held[index - 1][3]).length;
}

/** How long the second loop goes on until it has its laps. */
function longEnough({ latencies, seconds }: Rounds): number {
  const wanted = LAPS * PROCESSES * LOOPING;
  return Math.min(Math.max(wanted / latencies.length * seconds * 1e3, LOOP), LONGEST);
}

/** Adds a round of the loop, as far as it was within its time. */
function addLoop(rounds: Rounds, all: readonly Held[], end: number): void {
  rounds.overlaps += overlapsOf(all);
  const held = all.filter(([, , from]) => from <= end);
  for (let index = 1; index < held.length; index++) {
    const [before, [process, , from]] = [held[index - 1], held[index]];
    rounds.latencies.push((from - before[3]) / 1e3);
    if (before[0] !== process) rounds.crossed++;
  }
  rounds.fairness = lapFairness(held, PROCESSES * LOOPING);
}

function addLine(rounds: Rounds, held: readonly Held[], from: number): void {
  rounds.overlaps += overlapsOf(held);
  if (held.length !== PROCESSES * IN_LINE) throw new Error(`A line of ${PROCESSES * IN_LINE} had ${held.length} holds`);
  rounds.drains.push((Math.max(...held.map(([, , , , answered]) => answered)) - from) / 1e3);
  rounds.holdings.push(held.reduce((sum, [, , from, until]) => sum + until - from, 0) / 1e3);
}

function cameOf({ latencies, drains, holdings, crossed, fairness, overlaps, seconds }: Rounds): Came {
  return {
    handOff: quartiles(latencies),
    slow: quantile(latencies, 0.99),
    handOffsPerSecond: latencies.length / seconds,
    crossing: crossed / latencies.length,
    fairness,
    overlaps,
    drain: quartiles(drains),
    holding: quartiles(holdings),
  };
}

async function measure(places: Places, quick: boolean): Promise<Raw> {
  await using processes = new CrowdProcesses(places);
  const all = new Map((await processes.open()).map((label): [string, Rounds] => [label, {
    latencies: [],
    drains: [],
    holdings: [],
    crossed: 0,
    fairness: NaN,
    overlaps: 0,
    seconds: 0,
  }]));
  const [loops, lines, shortest] = quick ? [1, 1, 200] : [2, 5, LOOP];
  for (let round = 0; round < lines; round++) {
    for (const [label, rounds] of all) {
      if (round < loops) {
        const milliseconds = round === 0 ? shortest : longEnough(rounds);
        const loop = { label, name: `crowd ${round}`, waiters: LOOPING, hold: 0 };
        const { held, from } = await processes.run(() => loop, milliseconds);
        addLoop(rounds, held, from + milliseconds * 1e3);
        rounds.seconds += milliseconds / 1e3;
      }
      const line = { label, name: `line ${round}`, waiters: IN_LINE, hold: HOLD };
      const { held, from } = await processes.run(() => line);
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
    const verrou = label === "PostgreSQL lease" ? raw["Verrou on PostgreSQL"] : undefined;
    return [
      ...verrou
        ? [atMost(10, `${where}, queue of 64 against Verrou on PostgreSQL`, 1, came.drain.median / verrou.drain.median)]
        : [],
      atMost(5, `${where}, holds that overlapped`, 0, came.overlaps),
      atLeast(5, `${where}, Jain's index`, label.endsWith("session") ? FAIR_BY_CHANCE : FAIR, came.fairness),
      ...bare
        ? [atMost(5, `${where}, queue of 64 against bare`, lineLimit(label), came.drain.median / bare.drain.median)]
        : [],
    ];
  });
}

/** The queue in the row gives each waiter one turn in each lap, 1.00 as it is printed; sessions have no such order. */
const FAIR = 0.995;
const FAIR_BY_CHANCE = 0.95;

/** How many times the server's own lock a line of 64 may take: what the modes without an own queue took before it. */
const LINE_LIMITS: Readonly<Record<string, number>> = {
  "PostgreSQL lease": 1.35,
  "PostgreSQL hybrid": 1.35,
  "MySQL lease": 1.55,
  "MySQL hybrid": 1.55,
  "MariaDB lease": 1.35,
  "MariaDB hybrid": 1.5,
};

/** The limit of a mode that is not named is that of a session, which has never had a queue of its own. */
function lineLimit(label: string): number {
  return LINE_LIMITS[label] ?? 1.6;
}

/** What is left between a line and the holds in it, for each of its hand-offs. */
function leftOver({ drain, holding }: Came): number {
  return (drain.median - holding.median) / (PROCESSES * IN_LINE);
}

function describe(raw: Raw): Section {
  const rows = Object.entries(raw).map(([label, came]) => [
    label,
    figure(came.handOffsPerSecond),
    `${figure(came.handOff.median)} / ${figure(came.slow)}`,
    `${figure(Math.round(came.crossing * 100))} %`,
    Number.isFinite(came.fairness) ? came.fairness.toFixed(2) : "–",
    String(came.overlaps),
    spread(came.drain),
    figure(leftOver(came)),
  ]);
  const bars = Object.entries(raw).map(([label, { drain }]): Bar => ({
    label,
    kind: label.endsWith("bare") ? "floor" : kindOf(label),
    ...drain,
  }));
  const bare = Object.entries(raw).filter(([label]) => label.endsWith("bare"))
    .map(([label, came]) => `${label}: ${figure(leftOver(came))} ms`);
  return {
    title: "Eight processes and one name",
    text: [
      "In the loop, 64 waiters in each of eight processes acquire the name again and again and release it at once. A " +
      "hand-off lasts from the call of a release until the next holder runs. Many hand-offs a second alone are no " +
      "merit: a library that polls passes the name around within one process, past the waiters of the others. Its " +
      "share of hand-offs that cross processes is then low, and so is Jain's index (1: all waiters got the same " +
      "number; 0.002: one got all). The index is that of whole laps of 512 hand-offs after the first one: an " +
      "unfinished lap leaves some waiters a turn ahead, which with four turns each alone takes 0.01 to 0.03 off the " +
      "index. SQLite waiters of other processes poll.",
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
      axis: "ms after the release, in a queue of 64; less is better",
      unit: " ms",
      answers: answersOf(raw, leftOver),
    },
  };
}

export const handoff = subject<Raw>({
  name: "hand-off",
  measure: ({ places }, quick) => measure(places, quick),
  describe,
});
