/**
 * What does not depend on the machine: statements, commits and bytes of log for each operation, and connections.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Backend, getLock, listLocks, type Lock, type Mode, tryLock } from "../../mod.ts";
import { modesOf, open } from "../contestants.ts";
import { type Engine, enginesOf, labels, type Places } from "../places.ts";
import { openProbe, type Probe } from "../probes.ts";
import { atMost, figure, subject } from "../section.ts";

/** What one operation takes. */
interface Cost {
  readonly statements: number;
  readonly commits: number;
  readonly bytes: number;
}

/** What came of one mode. */
interface Came {
  readonly pair: Cost;
  readonly failed: Cost;
  /** Pairs of 256 callers that came together. */
  readonly crowd: Cost;
  /** A turn of two clients that wait for each other; only where waiters stand in a queue. Its polls are not counted. */
  readonly contended?: Omit<Cost, "statements">;
  /** Connections: of one caller, of 256, and of 64 who wait for one name. */
  readonly connections: readonly [one: number, many: number, waiting: number];
}

/** By engine and mode. */
type Raw = Record<string, Came>;

const TIMES = 20;
const CROWD = 256;
const WAITING = 64;
/** A server also writes on its own account: the least of so many rounds is ours. */
const ROUNDS = 4;

/** What one of `times` operations takes, which `work` does. */
async function cost(probe: Probe, times: number, work: () => Promise<unknown>): Promise<Cost> {
  const least = { statements: Infinity, commits: Infinity, bytes: Infinity };
  await work();
  for (let round = 0; round < ROUNDS; round++) {
    const before = await probe.counts();
    await work();
    const after = await probe.counts();
    for (const key of ["statements", "commits", "bytes"] as const) {
      const value = (after[key] - before[key]) / times;
      if (value < 0) continue; // a log began anew meanwhile
      least[key] = Number.isNaN(value) ? NaN : Math.min(least[key], value);
    }
  }
  return least;
}

async function repeat(times: number, work: () => Promise<unknown>): Promise<void> {
  for (let time = 0; time < times; time++) await work();
}

/** Connections that a backend has while many of its callers wait for one name. */
async function whileWaiting(backend: Backend, probe: Probe, before: number): Promise<number> {
  const ending = new AbortController();
  const waiters = Array.from(
    { length: WAITING },
    () => getLock("busy", { backend, wait: Infinity, signal: ending.signal }).catch(() => {}),
  );
  await new Promise((resolve) => setTimeout(resolve, 300));
  const count = await probe.connections() - before;
  ending.abort();
  await Promise.all(waiters);
  return count;
}

/** Lets two clients hold a name in turn; each stands in the queue before the other releases it. Answers the last lock. */
async function takeTurns(first: Lock, backends: readonly [Backend, Backend], times: number): Promise<Lock> {
  let lock = first;
  for (let time = 0; time < times; time++) {
    const next = getLock(first.name, { backend: backends[time % 2], wait: Infinity });
    while ((await listLocks({ backend: backends[0], names: [first.name] }))[0].waiters === 0) await delay(1);
    await lock.unlock();
    lock = await next;
  }
  return lock;
}

/** What a turn takes; one client holds the name before and after all turns. */
async function costOfTurn(probe: Probe, one: Backend, other: Backend): Promise<Cost> {
  let lock = await getLock("in turn", { backend: one });
  const came = await cost(probe, TIMES, async () => {
    lock = await takeTurns(lock, [other, one], TIMES);
  });
  await lock.unlock();
  return came;
}

async function measureMode(places: Places, engine: Engine, mode: Mode): Promise<Came> {
  const path = `${places.directory}/counted.db`;
  const there = { ...places, ...engine === "sqlite" && { sqlite: path } };
  const take = (name: string, backend: Backend) => getLock(name, { backend }).then((lock) => lock.unlock());
  await using probe = await openProbe(there, engine, path);
  await using other = await open(there, engine, mode);
  await using _ = await getLock("busy", { backend: other });
  const before = await probe.connections();
  const counts: number[] = [];
  await using backend = await open(there, engine, mode);
  const pair = await cost(probe, TIMES, () => repeat(TIMES, () => take("counted", backend)));
  const failed = await cost(probe, TIMES, () => repeat(TIMES, () => tryLock("busy", { backend })));
  counts.push(await probe.connections() - before);
  const names = Array.from({ length: CROWD }, (_, index) => `counted ${index}`);
  const crowd = await cost(probe, CROWD, () => Promise.all(names.map((name) => take(name, backend))));
  counts.push(await probe.connections() - before);
  const contended = mode === "session" ? undefined : await costOfTurn(probe, backend, other);
  const now = await probe.connections();
  await using waiting = await open(there, engine, mode);
  counts.push(await whileWaiting(waiting, probe, now));
  return { pair, failed, crowd, contended, connections: counts as unknown as Came["connections"] };
}

const cells = ({ statements, commits, bytes }: Cost) => [statements, commits, bytes].map(figure);
const turnCells = (turn: Came["contended"]) => turn ? [turn.commits, turn.bytes].map(figure) : ["–", "–"];

export const counters = subject<Raw>({
  name: "counters",
  async measure({ places }) {
    const raw: Raw = {};
    for (const engine of enginesOf(places)) {
      for (const mode of modesOf(engine)) {
        raw[`${labels[engine]} ${mode}`] = await measureMode(places, engine, mode);
      }
    }
    return raw;
  },
  describe: (raw) => ({
    title: "What is the same on every machine",
    text: [
      "Statements, transactions that wrote, and bytes of log (PostgreSQL's and SQLite's write-ahead log, InnoDB's redo " +
      "log with the binary log) per operation. Each is the minimum of several rounds, since servers also write for " +
      `their own purposes. In a batch, ${CROWD} callers come at once. In a turn, the name goes from one client to ` +
      "another, which stood in its queue before the release: its entry, the release that grants it the name, and its " +
      "confirmation.",
    ],
    tables: [
      {
        head: [
          "",
          ...["pair", "failed try", "pair in a batch"].flatMap((
            what,
          ) => [`${what}: statements`, "commits", "bytes"]),
          "turn in a queue: commits",
          "bytes",
        ],
        rows: Object.entries(raw).map((
          [label, { pair, failed, crowd, contended }],
        ) => [label, ...cells(pair), ...cells(failed), ...cells(crowd), ...turnCells(contended)]),
      },
      {
        head: ["connections of one process", "one caller", `${CROWD} callers`, `${WAITING} waiters on one name`],
        rows: Object.entries(raw).filter(([label]) => !label.startsWith("SQLite"))
          .map(([label, { connections }]) => [label, ...connections.map(figure)]),
      },
    ],
    plots: [],
    targets: Object.entries(raw).filter(([label]) => label.endsWith("lease")).map(([label, { failed }]) =>
      atMost(3, `${label}, bytes of log that a failed try writes`, 0, failed.bytes)
    ),
  }),
});
