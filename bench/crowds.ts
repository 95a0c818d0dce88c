/**
 * Processes that want one name at the same time, and what is made of their holds.
 *
 * @module
 */
import { sharedClock } from "../tests/history/clock.ts";
import type { CrowdOrder, Hold } from "./measures/crowd.ts";
import type { Places } from "./places.ts";
import { fairness } from "./statistics.ts";
import { here, startWorker, type Worker } from "./workers.ts";

/** How many processes want the name. */
export const PROCESSES = 8;

/** One hold, and in which process. */
export type Held = readonly [process: number, ...Hold];

/** What a process does in a round. */
export type Task = Omit<CrowdOrder, "from" | "until" | "places">;

/** The processes, which have everything open that can wait. */
export class CrowdProcesses implements AsyncDisposable {
  readonly #places: Places;
  readonly #workers: readonly Worker[] = Array.from({ length: PROCESSES }, () => startWorker(here));

  constructor(places: Places) {
    this.#places = places;
  }

  /** Opens everything and answers its labels. */
  async open(): Promise<string[]> {
    const opening = { places: this.#places, name: "", waiters: 0, from: 0, hold: 0 };
    const opened = this.#workers.map((worker) => worker.do<string[]>({ do: "crowd", with: opening }));
    return (await Promise.all(opened))[0];
  }

  /**
   * Lets all processes begin at the same time, each with the task for its number; with a time (ms) they go on that
   * long. Returns when they began (µs), and the holds in their order.
   */
  async run(taskOf: (process: number) => Task, milliseconds?: number): Promise<{ from: number; held: Held[] }> {
    const all = (change: (task: Task) => Pick<CrowdOrder, "from" | "until" | "waiters">) =>
      Promise.all(this.#workers.map((worker, process) => {
        const task = taskOf(process);
        return worker.do<Hold[]>({ do: "crowd", with: { places: this.#places, ...task, ...change(task) } });
      }));
    await all(() => ({ from: 0, waiters: 0 })); // only warms up
    const from = sharedClock() + 150e3; // time for the orders to arrive
    const until = milliseconds === undefined ? {} : { until: from + milliseconds * 1e3 };
    const answers = await all(({ waiters }) => ({ from, waiters, ...until }));
    const held = answers.flatMap((holds, process) => holds.map((hold): Held => [process, ...hold]));
    return { from, held: held.sort((a, b) => a[2] - b[2]) };
  }

  /** Ends the processes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker[Symbol.asyncDispose]()));
  }
}

/** The largest number of holds at one instant. */
export function mostAtOnce(held: readonly Held[]): number {
  const changes = held.flatMap(([, , from, until]) => [[from, 1], [until, -1]]);
  let now = 0, most = 0;
  for (const [, change] of changes.sort(([a, one], [b, other]) => a - b || one - other)) {
    most = Math.max(most, now += change);
  }
  return most;
}

/**
 * Jain's index of holds in their order, by whole laps: a lap has as many holds as there are waiters. The first lap is
 * left out, in which processes that start earlier have more, and so is a last one that was cut off, which would leave
 * some waiters a hold ahead of the others although each had its turn. `NaN` without two laps.
 */
export function lapFairness(held: readonly Held[], waiters: number): number {
  const laps = Math.floor(held.length / waiters) - 1;
  if (laps < 1) return NaN;
  const counts = new Map<string, number>();
  for (const [process, waiter] of held.slice(waiters, waiters * (laps + 1))) {
    const key = `${process} ${waiter}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return fairness([...counts.values(), ...Array(waiters - counts.size).fill(0)]);
}
