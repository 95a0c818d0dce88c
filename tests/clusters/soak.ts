/**
 * Failures of clusters, one after the other, for as long as wanted: `deno task soak --cluster --minutes 10`. Ends with
 * 1 as soon as a promise was broken, and says how to repeat the run.
 *
 * @module
 */
import { type Random, seeded } from "../faults/random.ts";
import { report } from "../history/checker.ts";
import { flavors } from "../mysql/flavors.ts";
import { startGaleraCluster } from "../servers/galera.ts";
import { FAILURES } from "./failures.ts";
import { anyFailure, nodesFailUnderWork } from "./node_faults.ts";
import { mysqlPair, type Pair, postgresPair, promoteUnderWork } from "./promotions.ts";
import type { Outcome } from "./workload.ts";

/** What failed once, and what came of it. */
interface Episode extends Outcome {
  readonly what: string;
  /** How many failures it had. */
  readonly failures: number;
  /** Whether the name was free in time. */
  readonly inTime: boolean;
}

/** Promotes a standby under work. */
async function promotion(start: () => Promise<Pair>, random: Random): Promise<Episode> {
  const failure = random.pick(FAILURES);
  const mode = random.pick(["lease", "hybrid", "hybrid"] as const);
  await using pair = await start();
  const outcome = await promoteUnderWork(pair, { failure, mode, seed: random.between(0, 2 ** 31) });
  return { ...outcome, what: `${mode}, ${failure}: free after ${outcome.seconds.toFixed(1)} s`, failures: 1 };
}

/** Lets nodes of a cluster fail under work. */
async function galera(random: Random): Promise<Episode> {
  const failures = Array.from({ length: 6 }, () => anyFailure(random));
  await using cluster = await startGaleraCluster();
  const outcome = await nodesFailUnderWork(cluster, failures, random.between(0, 2 ** 31));
  if (outcome.errors.size > 0) throw new Error(`Errors to those who waited: ${[...outcome.errors.keys()]}`);
  const what = failures.map(({ fault, node, lasts }) => `${fault} of ${node} for ${(lasts / 1e3).toFixed(1)} s`);
  return { ...outcome, what: what.join(", "), failures: failures.length, inTime: true };
}

/** What can fail in each kind of cluster. */
const EPISODES: Record<string, (random: Random) => Promise<Episode>> = {
  postgres: (random) => promotion(postgresPair, random),
  ...Object.fromEntries(
    flavors.map((flavor) => [flavor.name, (random: Random) => promotion(() => mysqlPair(flavor), random)]),
  ),
  galera,
};

/** Has clusters fail until the time is over; returns whether every promise held. */
export async function soakClusters(
  kinds: readonly string[] = Object.keys(EPISODES),
  seed: number,
  until: number,
): Promise<boolean> {
  const random = seeded(seed);
  const total = { failures: 0, late: 0, operations: 0, holds: 0, losses: 0 };
  while (performance.now() < until) {
    const kind = random.pick(kinds);
    const { what, verdict, errors, failures, inTime } = await EPISODES[kind](random);
    console.log(`${kind} ${what}, ${report(verdict)}`, Object.fromEntries(errors));
    if (verdict.offences.length > 0) return false;
    total.failures += failures;
    if (!inTime) total.late++;
    for (const key of ["operations", "holds", "losses"] as const) total[key] += verdict.seen[key];
  }
  console.log(JSON.stringify({ seed, ...total }));
  return true;
}
