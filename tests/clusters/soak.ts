/**
 * Promotions and restarts, one after the other, for as long as wanted: `deno task soak --cluster --minutes 10`. Ends with
 * 1 as soon as a promise was broken, and says how to repeat the run.
 *
 * @module
 */
import { seeded } from "../faults/random.ts";
import { report } from "../history/checker.ts";
import { flavors } from "../mysql/flavors.ts";
import { FAILURES } from "./failures.ts";
import { mysqlPair, type Pair, postgresPair, promoteUnderWork } from "./promotions.ts";

/** How pairs of each engine are started. */
const PAIRS: Record<string, (synchronous?: boolean) => Promise<Pair>> = {
  postgres: postgresPair,
  ...Object.fromEntries(flavors.map((flavor) => [flavor.name, (synchronous) => mysqlPair(flavor, synchronous)])),
};

/** Promotes until the time is over; returns whether every promise held. */
export async function soakClusters(
  engines: readonly string[] | undefined,
  seed: number,
  until: number,
): Promise<boolean> {
  const random = seeded(seed);
  const total = { promotions: 0, late: 0, longest: 0, operations: 0, holds: 0, losses: 0 };
  while (performance.now() < until) {
    const engine = random.pick(engines ?? Object.keys(PAIRS));
    const failure = random.pick(FAILURES);
    const mode = random.pick(["lease", "hybrid", "hybrid"] as const);
    await using pair = await PAIRS[engine]();
    const promotion = { failure, mode, seed: random.between(0, 2 ** 31) };
    const { verdict, errors, seconds, inTime } = await promoteUnderWork(pair, promotion);
    const what = `${engine} ${mode}, ${failure}: free after ${seconds.toFixed(1)} s`;
    console.log(`${what}, ${report(verdict)}`, Object.fromEntries(errors));
    if (verdict.offences.length > 0) return false;
    total.promotions++;
    if (!inTime) total.late++;
    total.longest = Math.max(total.longest, seconds);
    for (const key of ["operations", "holds", "losses"] as const) total[key] += verdict.seen[key];
  }
  console.log(JSON.stringify({ seed, ...total }));
  return true;
}
