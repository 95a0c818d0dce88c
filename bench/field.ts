/**
 * Who takes part in a comparison: each in a process of its own, waiting for its turn.
 *
 * @module
 */
import { modesOf, ONE_CONNECTION } from "./contestants.ts";
import { WEB_LOCKS } from "./floors.ts";
import { enginesOf, labels, type Places } from "./places.ts";
import { inTurns, type Rounds } from "./rounds.ts";
import { predecessors, startPredecessors } from "./predecessors.ts";
import type { Quartiles } from "./statistics.ts";
import { type Runner, startWorker, type Worker } from "./workers.ts";

/** Something to measure, and in which process. */
export interface Candidate {
  readonly group: string;
  readonly label: string;
}

/** The group of those who run in Python. */
const DJANGO = "Django";

/** What one caller does: our pairs and failed tries, floors, and rivals. */
export function lone(places: Places, rivals: boolean): Candidate[] {
  const ours = enginesOf(places).flatMap((engine) => {
    const label = labels[engine];
    const floor = ["round trip", "durable upsert"].map((what) => ({ group: label, label: `${label} ${what}` }));
    return floor.concat(
      modesOf(engine).flatMap((mode) => {
        const group = `${label} ${mode}`;
        const single = mode === "lease" ? [", one statement each", ", statements joined"] : [];
        return ["", ...single, ", failed try"].map((what) => ({ group, label: group + what }));
      }),
    );
  });
  if (!rivals) return ours;
  const files = ["proper-lockfile", ...places.postgres ? ["advisory-lock"] : []];
  const others = redis(places, "Redis round trip").concat(verrouOnPostgres(places), webLocks);
  const failing = others.filter(({ group }) => group !== "Redis");
  return [
    ...ours,
    ...others,
    ...failing.map(({ group, label }) => ({ group, label: `${label}, failed try` })),
    ...files.map((label) => ({ group: label, label })),
    ...predecessors(places).map((label) => ({ group: DJANGO, label })),
  ];
}

/** What many callers do; `single` is whether our locks also go in one statement each. */
export function crowd(places: Places, rivals: boolean, single: boolean): Candidate[] {
  const ours = enginesOf(places).flatMap((engine) => {
    const label = labels[engine];
    const floor = engine === "sqlite" ? [] : [{ group: label, label: `${label}, 2 round trips` }];
    return floor.concat(
      modesOf(engine).flatMap((mode) => {
        const group = `${label} ${mode}`;
        const narrow = engine === "sqlite" ? [] : [`, ${ONE_CONNECTION}`];
        const alone = single ? [", one statement each", ...narrow] : [];
        return ["", ...alone].map((what) => ({ group, label: group + what }));
      }),
    );
  });
  if (!rivals) return ours;
  return [...ours, ...redis(places, "Redis, 2 round trips"), ...verrouOnPostgres(places), ...webLocks];
}

/** The runtime's own locks. */
export const webLocks: readonly Candidate[] = [{ group: WEB_LOCKS, label: WEB_LOCKS }];

function verrouOnPostgres(places: Places): Candidate[] {
  return places.postgres ? [{ group: "Verrou on PostgreSQL", label: "Verrou on PostgreSQL" }] : [];
}

function redis(places: Places, floor: string): Candidate[] {
  if (places.redis === undefined) return [];
  return [
    { group: "Redis", label: floor },
    ...["redlock", "redis-semaphore", "Verrou on Redis"].map((label) => ({ group: label, label })),
  ];
}

/** The processes of a comparison, under one runtime. */
export class Field implements AsyncDisposable {
  readonly #runner: Runner;
  readonly #places: Places;
  readonly #workers = new Map<string, Worker>();

  constructor(runner: Runner, places: Places) {
    this.#runner = runner;
    this.#places = places;
  }

  /** Lets all take turns. */
  compare(candidates: readonly Candidate[], callers: number, rounds: Rounds): Promise<Record<string, Quartiles>> {
    const turns = candidates.map(({ group, label }) => {
      const order = { places: this.#places, group, label, callers, turn: rounds.turn };
      return [label, () => this.#worker(group).do<number>({ do: "turn", with: order })];
    });
    return inTurns(Object.fromEntries(turns), rounds);
  }

  #worker(group: string): Worker {
    let worker = this.#workers.get(group);
    if (worker === undefined) {
      worker = group === DJANGO ? startPredecessors() : startWorker(this.#runner);
      this.#workers.set(group, worker);
    }
    return worker;
  }

  /** Ends the processes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#workers.values()].map((worker) => worker[Symbol.asyncDispose]()));
  }
}
