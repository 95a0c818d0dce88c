/**
 * One process of several that want one name, with many waiters in each.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { sharedClock } from "../../tests/history/clock.ts";
import { closeAll, type Contestant, modesOf, openOurs, type Sharing } from "../contestants.ts";
import { openBareLock } from "../floors.ts";
import { type Engine, enginesOf, type Places } from "../places.ts";

/** What to do. */
export interface CrowdOrder {
  readonly places: Places;
  /** Whose locks, by label; none means to open all and say their labels. */
  readonly label?: string;
  /** The name wanted. */
  readonly name: string;
  /** How many waiters. */
  readonly waiters: number;
  /** When to begin, and when to end, on the shared clock (µs); without an end each waiter goes once. */
  readonly from: number;
  readonly until?: number;
  /** How long a holder holds (ms): 0 gives the name back at once. */
  readonly hold: number;
  /** The longest that a waiter waits before it wants the name again (ms): a random time up to it. */
  readonly pause?: number;
  /** Beside whom the name is held. */
  readonly sharing?: Sharing;
}

/** One hold: which waiter, from when, until its release was called, until that was answered, and since when it was wanted (µs). */
export type Hold = [waiter: number, from: number, until: number, answered: number, asked: number];

/** Everything that can wait, on what is there. */
async function openEverything(places: Places): Promise<Contestant[]> {
  const all: Contestant[] = [];
  for (const engine of enginesOf(places)) {
    if (engine !== "sqlite") all.push(await openBareLock(places, engine as Exclude<Engine, "sqlite">));
    for (const mode of modesOf(engine)) all.push(await openOurs(places, engine, mode));
  }
  const { openWaitingRivals } = await import("../rivals.ts");
  return [...all, ...await openWaitingRivals(places)];
}

/** The waiters of this process. */
export class Crowds {
  #open: Contestant[] = [];

  /** Lets waiters wait for a name and answers who had it when. */
  async measure(order: CrowdOrder): Promise<string[] | Hold[]> {
    if (order.label === undefined) {
      this.#open = await openEverything(order.places);
      return this.#open.map(({ label }) => label);
    }
    const contestant = this.#open.find(({ label }) => label === order.label)!;
    await (await contestant.take(`${order.name} warm ${sharedClock()}`))();
    const holds: Hold[] = [];
    const ending = new AbortController();
    await delay(Math.max(0, (order.from - sharedClock()) / 1e3));
    const timer = order.until === undefined
      ? undefined
      : setTimeout(() => ending.abort(), Math.max(0, order.until - sharedClock()) / 1e3);
    const waiters = Array.from(
      { length: order.waiters },
      (_, waiter) => wait(contestant, waiter, order, ending.signal, holds),
    );
    await Promise.all(waiters);
    clearTimeout(timer);
    return holds;
  }

  /** Closes everything. */
  close(): Promise<void> {
    return closeAll(this.#open);
  }
}

/** One waiter: takes the name again and again, or once. */
async function wait(contestant: Contestant, waiter: number, order: CrowdOrder, signal: AbortSignal, holds: Hold[]) {
  const { name, hold, until, pause, sharing } = order;
  do {
    if (pause !== undefined) await delay(Math.random() * pause);
    const asked = sharedClock();
    let release;
    try {
      release = await contestant.wait(name, signal, sharing);
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    const from = sharedClock();
    if (hold > 0) await delay(hold);
    const called = sharedClock();
    await release();
    holds.push([waiter, from, called, sharedClock(), asked]);
  } while (until !== undefined && !signal.aborted);
}
