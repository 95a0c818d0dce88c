/**
 * Fair comparison on a machine with other work: what is compared runs in turns, and the answer is quartiles.
 *
 * @module
 */

/** The three quartiles of some measurements. */
export interface Quartiles {
  /** A quarter of the measurements lie below. */
  readonly lower: number;
  /** Half of them lie below. */
  readonly median: number;
  /** Three quarters of them lie below. */
  readonly upper: number;
}

/** Sorts measurements and reads their quartiles. */
export function quartiles(values: readonly number[]): Quartiles {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(share * (sorted.length - 1))];
  return { lower: at(0.25), median: at(0.5), upper: at(0.75) };
}

/** A candidate: something to do, once. */
export type Candidate = () => void | Promise<void>;

/** How long a comparison goes on. */
export interface Rounds {
  /** How many turns each candidate gets. */
  readonly rounds: number;
  /** How often a candidate runs in one turn. */
  readonly times: number;
  /** Turns that are not counted. */
  readonly warmUp: number;
}

/** Milliseconds that each run of each candidate took, one figure for each turn; the order within a round alternates. */
export async function inTurns<Name extends string>(
  candidates: Record<Name, Candidate>,
  { rounds, times, warmUp }: Rounds,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(candidates) as Name[];
  const taken = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  for (let round = -warmUp; round < rounds; round++) {
    for (const name of round % 2 === 0 ? names : names.toReversed()) {
      const startedAt = performance.now();
      for (let time = 0; time < times; time++) await candidates[name]();
      if (round >= 0) taken[name].push((performance.now() - startedAt) / times);
    }
  }
  return taken;
}

/** Prints one line: what, and its quartiles. */
export function report(what: string, values: readonly number[], unit: string, scale = 1): void {
  const { lower, median, upper } = quartiles(values.map((value) => value * scale));
  const figures = [lower, median, upper].map((value) => value.toFixed(scale === 1 && unit === "" ? 2 : 1));
  console.log(`${what.padEnd(46)} ${figures[1].padStart(8)} ${unit}  (quartiles ${figures[0]} to ${figures[2]})`);
}
