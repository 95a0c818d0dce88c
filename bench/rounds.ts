/**
 * Fair comparison on a machine with other work: what is compared runs in turns, many and short, and the answer is
 * quartiles over the turns.
 *
 * @module
 */
import { type Quartiles, quartiles } from "./statistics.ts";

/** A candidate: something to do, once. */
export type Candidate = () => unknown;

/** How long a comparison goes on. */
export interface Rounds {
  /** How many turns each candidate gets. */
  readonly rounds: number;
  /** How long a turn is (ms): a candidate runs at least once in it. */
  readonly turn: number;
  /** Turns that are not counted. */
  readonly warmUp: number;
}

/** A turn begins with uncounted runs, for so long a share of it: whoever ran before has taken the processor's caches. */
const WARMING = 0.5;

/** Lets candidates take turns, each in the reverse order of the last one, and answers what each turn gave. */
export async function inTurns(
  candidates: Readonly<Record<string, () => Promise<number>>>,
  { rounds, warmUp }: Pick<Rounds, "rounds" | "warmUp">,
): Promise<Record<string, Quartiles>> {
  const names = Object.keys(candidates);
  const given = new Map(names.map((name) => [name, [] as number[]]));
  for (let round = -warmUp; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const value = await candidates[name]();
      if (round >= 0) given.get(name)!.push(value);
    }
  }
  return Object.fromEntries(names.map((name) => [name, quartiles(given.get(name)!)]));
}

/** Microseconds that one run takes, in a turn of so many milliseconds. */
export async function timed(milliseconds: number, run: Candidate): Promise<number> {
  const warm = performance.now() + milliseconds * WARMING;
  do await run(); while (performance.now() < warm);
  const startedAt = performance.now();
  let times = 0, taken = 0;
  do {
    await run();
    times++;
    taken = performance.now() - startedAt;
  } while (taken < milliseconds);
  return taken / times * 1e3;
}

/** Microseconds that one run of each candidate takes, done one after the other. */
export function timeEach(
  candidates: Readonly<Record<string, Candidate>>,
  rounds: Rounds,
): Promise<Record<string, Quartiles>> {
  const turns = Object.entries(candidates).map(([name, run]) => [name, () => timed(rounds.turn, run)]);
  return inTurns(Object.fromEntries(turns), rounds);
}

/** Does something with many callers, each again and again; answers how often it was done in a second. */
export async function throughput(
  callers: number,
  milliseconds: number,
  run: (caller: number) => Promise<unknown>,
): Promise<number> {
  let done = 0;
  const startedAt = performance.now();
  await Promise.all(Array.from({ length: callers }, async (_, caller) => {
    do {
      await run(caller);
      done++;
    } while (performance.now() - startedAt < milliseconds);
  }));
  return done / (performance.now() - startedAt) * 1e3;
}
