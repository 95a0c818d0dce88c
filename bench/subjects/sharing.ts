/**
 * Shared and counted locks among eight processes: how soon a writer gets its turn among readers that never leave the
 * name alone, and how well three places are used.
 *
 * @module
 */
import { CrowdProcesses, type Held, lapFairness, mostAtOnce, PROCESSES, type Task } from "../crowds.ts";
import { atLeast, atMost, figure, type Section, subject, type Target } from "../section.ts";
import { quantile } from "../statistics.ts";
import { kindOf } from "./pairs.ts";

/** How long a reader and the writer hold the name (ms). A reader pauses at most half as long, the writer twice. */
const READ = 20;
const WRITE = 2;
/** So many may hold the counted name; each process has so many callers, who hold it for so long (ms). */
const LIMIT = 3;
const CALLERS = 8;
const HOLD = 2;

/** What came of one writer among readers. */
interface Wrote {
  /** Milliseconds that the writer waited: the median and the slowest of twenty. */
  readonly wait: number;
  readonly slow: number;
  /** Milliseconds from the writer's release until the next reader runs. */
  readonly reader: number;
  /** How many readers hold the name on average. */
  readonly readers: number;
  /** Readers that held the name while the writer did. */
  readonly overlaps: number;
}

/** What came of one counted name. */
interface Counted {
  readonly holdsPerSecond: number;
  /** The share of the places that was held. */
  readonly used: number;
  readonly mostAtOnce: number;
  readonly fairness: number;
}

/** By contestant. */
interface Raw {
  readonly writer: Record<string, Wrote>;
  readonly counted: Record<string, Counted>;
}

/** The writer is the first process; all others read. */
function readOrWrite(label: string, name: string): (process: number) => Task {
  const writer = { label, name, waiters: 1, hold: WRITE, pause: 2 * READ };
  const reader = { label, name, waiters: 1, hold: READ, pause: READ / 2, sharing: { shared: true } };
  return (process) => process === 0 ? writer : reader;
}

const timeOf = (held: readonly Held[]) => held.reduce((sum, [, , from, until]) => sum + until - from, 0);

/** Adds a round in which the first process wrote among the others; the first tenth is theirs alone to meet. */
function judgeWriter(rounds: readonly { from: number; held: readonly Held[] }[], milliseconds: number): Wrote {
  const waits: number[] = [], readers: number[] = [], shares: number[] = [];
  let overlaps = 0;
  for (const { from, held } of rounds) {
    const reads = held.filter(([process]) => process !== 0);
    shares.push(timeOf(reads) / (milliseconds * 1e3));
    for (const [, , granted, called, , asked] of held.filter(([process]) => process === 0)) {
      if (granted < from + milliseconds * 100) continue;
      waits.push((granted - asked) / 1e3);
      overlaps += reads.filter((read) => read[2] < called && read[3] > granted).length;
      const next = reads.find((read) => read[2] >= called);
      if (next) readers.push((next[2] - called) / 1e3);
    }
  }
  return {
    wait: quantile(waits, 0.5),
    slow: quantile(waits, 0.95),
    reader: quantile(readers, 0.5),
    readers: quantile(shares, 0.5),
    overlaps,
  };
}

function judgeCounted(rounds: readonly { from: number; held: readonly Held[] }[], milliseconds: number): Counted {
  const within = rounds.map(({ from, held }) => held.filter((hold) => hold[2] <= from + milliseconds * 1e3));
  const total = rounds.length * milliseconds;
  return {
    holdsPerSecond: within.flat().length / total * 1e3,
    used: timeOf(within.flat()) / (LIMIT * total * 1e3),
    mostAtOnce: Math.max(...rounds.map(({ held }) => mostAtOnce(held))),
    fairness: quantile(within.map((held) => lapFairness(held, PROCESSES * CALLERS)), 0.5),
  };
}

/** Who can share a name: our row modes, and PostgreSQL's own lock; who can count: our row modes, and one rival. */
const isRow = (label: string) => kindOf(label) === "ours" && !label.endsWith("session");
const canShare = (label: string) => isRow(label) || label === "pg_advisory_lock, bare";
const canCount = (label: string) => isRow(label) || label === "redis-semaphore";

function targetsOf({ writer, counted }: Raw): Target[] {
  return [
    ...Object.entries(writer).filter(([label]) => kindOf(label) === "ours").flatMap(([label, { wait, overlaps }]) => [
      atMost(9, `${label}, a writer's wait in holds of the readers`, 1.5, wait / READ),
      atMost(9, `${label}, readers beside a writer`, 0, overlaps),
    ]),
    ...Object.entries(counted).filter(([label]) => kindOf(label) === "ours").flatMap(([label, came]) => [
      atMost(9, `${label}, holders of a name limited to ${LIMIT}`, LIMIT, came.mostAtOnce),
      atLeast(9, `${label}, limit of ${LIMIT}, Jain's index`, 0.95, came.fairness),
    ]),
  ];
}

function describe(raw: Raw): Section {
  return {
    title: "Shared and counted locks",
    text: [
      `Seven processes read under a shared lock, ${READ} ms each, and pause for less than that, so that some always ` +
      `read. An eighth writes for ${WRITE} ms, again and again after a pause. The readers that hold the name when the ` +
      "writer comes finish; those that come later wait behind it. So it waits as long as the last of them takes, at most " +
      "one hold, and for the hand-off. MySQL and MariaDB have no shared lock of their own to compare with.",
      `A name limited to ${LIMIT} holders is wanted by ${
        PROCESSES * CALLERS
      } callers in ${PROCESSES} processes, each ` +
      `again as soon as it has held it for ${HOLD} ms. A place is used while its holder works; the rest of the time a ` +
      "hand-off is under way.",
    ],
    tables: [{
      head: [
        "a writer among 7 readers",
        "writer waits, ms, median / p95",
        "in holds of the readers",
        "then a reader runs after, ms",
        "readers at once",
        "readers beside the writer",
      ],
      rows: Object.entries(raw.writer).map(([label, { wait, slow, reader, readers, overlaps }]) => [
        label,
        `${figure(wait)} / ${figure(slow)}`,
        figure(wait / READ),
        figure(reader),
        figure(readers),
        String(overlaps),
      ]),
    }, {
      head: [`limit of ${LIMIT}, 8 processes`, "holds/s", "places used", "most at once", "Jain"],
      rows: Object.entries(raw.counted).map(([label, { holdsPerSecond, used, mostAtOnce, fairness }]) => [
        label,
        figure(holdsPerSecond),
        `${Math.round(used * 100)} %`,
        String(mostAtOnce),
        Number.isFinite(fairness) ? fairness.toFixed(2) : "–",
      ]),
    }],
    plots: [],
    targets: targetsOf(raw),
  };
}

export const sharing = subject<Raw>({
  name: "shared and counted",
  async measure({ places }, quick) {
    await using processes = new CrowdProcesses(places);
    const labels = await processes.open();
    const [rounds, milliseconds] = quick ? [1, 400] : [3, 1_500];
    const all = async (
      chosen: readonly string[],
      taskOf: (label: string, name: string) => (process: number) => Task,
    ) => {
      const came = new Map(chosen.map((label) => [label, [] as { from: number; held: Held[] }[]]));
      for (let round = 0; round < rounds; round++) {
        for (const [label, list] of came) {
          list.push(await processes.run(taskOf(label, `${label} ${round}`), milliseconds));
        }
      }
      return came;
    };
    const wrote = await all(labels.filter(canShare), (label, name) => readOrWrite(label, `read ${name}`));
    const counted = await all(labels.filter(canCount), (label, name) => {
      const task = { label, name: `counted ${name}`, waiters: CALLERS, hold: HOLD, sharing: { limit: LIMIT } };
      return () => task;
    });
    return {
      writer: Object.fromEntries([...wrote].map(([label, list]) => [label, judgeWriter(list, milliseconds)])),
      counted: Object.fromEntries([...counted].map(([label, list]) => [label, judgeCounted(list, milliseconds)])),
    };
  },
  describe,
});
