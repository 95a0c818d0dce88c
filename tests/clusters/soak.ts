/**
 * Failures of clusters, one after the other, for as long as wanted: `deno task soak --cluster --minutes 10`. Ends with
 * 1 as soon as a promise was broken, and says how to repeat the run.
 *
 * @module
 */
import { type Random, seeded } from "../faults/random.ts";
import { report } from "../history/checker.ts";
import { flavors } from "../mysql/flavors.ts";
import { server as postgres } from "../postgres/server.ts";
import { startGaleraCluster } from "../servers/galera.ts";
import { FAILURES } from "./failures.ts";
import { anyFailure, nodesFailUnderWork } from "./node_faults.ts";
import {
  mysqlPair,
  mysqlRestarting,
  mysqlUrl,
  type Pair,
  postgresPair,
  postgresRestarting,
  postgresUrl,
  promoteUnderWork,
  type Promotion,
} from "./promotions.ts";
import { type Disturbance, haproxyUnderWork, pgbouncerUnderWork } from "./proxied.ts";
import type { Outcome } from "./workload.ts";

/** What failed once, and what came of it. */
interface Episode extends Outcome {
  readonly what: string;
  /** How many failures it had. */
  readonly failures: number;
  /** Whether the name was free in time. */
  readonly inTime: boolean;
}

/** What may happen to a primary and its standby; two primaries give tokens of two clocks. */
const FAILURES_OF = { synchronous: FAILURES, asynchronous: ["crash", "hang"], restart: ["restart"] } as const;

/** Promotes a standby, or restarts a server, under work. */
async function promotion(start: () => Promise<Pair>, kind: keyof typeof FAILURES_OF, random: Random): Promise<Episode> {
  const failure = random.pick<Promotion["failure"]>(FAILURES_OF[kind]);
  const mode = random.pick(["lease", "hybrid", "hybrid"] as const);
  await using pair = await start();
  const outcome = await promoteUnderWork(pair, { failure, mode, seed: random.between(0, 2 ** 31) });
  return { ...outcome, what: `${mode}, ${kind} ${failure}: free after ${outcome.seconds.toFixed(1)} s`, failures: 1 };
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

/** Disturbs clients that work through a proxy. */
async function proxied(
  modes: readonly ("lease" | "session" | "hybrid")[],
  kinds: (mode: string) => readonly Disturbance[],
  run: (mode: "lease" | "session" | "hybrid", disturbances: Disturbance[], seed: number) => Promise<Outcome>,
  random: Random,
): Promise<Episode> {
  const mode = random.pick(modes);
  const disturbances = Array.from({ length: 4 }, () => random.pick(kinds(mode)));
  const outcome = await run(mode, disturbances, Math.floor(random.between(0, 2 ** 31)));
  if (outcome.errors.size > 0) throw new Error(`Errors to those who waited: ${[...outcome.errors.keys()]}`);
  return { ...outcome, what: `${mode}, ${disturbances}`, failures: disturbances.length, inTime: true };
}

/** What HAProxy does to each mode: a lease does not depend on connections that are idle. */
const haproxyKinds = (mode: string): readonly Disturbance[] => mode === "lease" ? ["restart"] : ["restart", "silence"];
/** PgBouncer pauses once all transactions have ended, or all clients' sessions. */
const pgbouncerKinds = (mode: string): readonly Disturbance[] => mode === "lease" ? ["restart", "pause"] : ["restart"];

type Episodes = Record<string, (random: Random) => Promise<Episode>>;

function episodesOf(
  engine: string,
  pair: (synchronous: boolean) => Promise<Pair>,
  restarting: () => Promise<Pair>,
): Episodes {
  return {
    [engine]: (random) => promotion(() => pair(true), "synchronous", random),
    [`${engine}-asynchronous`]: (random) => promotion(() => pair(false), "asynchronous", random),
    [`${engine}-restart`]: (random) => promotion(restarting, "restart", random),
  };
}

/** What can fail in each kind of cluster. */
const EPISODES: Episodes = {
  ...episodesOf("postgres", postgresPair, postgresRestarting),
  ...flavors.map((flavor) =>
    episodesOf(flavor.name, (synchronous) => mysqlPair(flavor, synchronous), () => mysqlRestarting(flavor))
  ).reduce((all, own) => ({ ...all, ...own })),
  galera,
  pgbouncer: (random) =>
    proxied(
      ["lease", "hybrid"],
      pgbouncerKinds,
      (mode, disturbances, seed) => pgbouncerUnderWork(postgres.port, mode as "lease" | "hybrid", disturbances, seed),
      random,
    ),
  ...Object.fromEntries(
    [
      { name: "postgres", port: postgres.port, urlOf: postgresUrl },
      ...flavors.map(({ name, shared: { port } }) => ({ name, port, urlOf: mysqlUrl })),
    ].map((server) => [
      `haproxy-${server.name}`,
      (random: Random) =>
        proxied(
          ["lease", "session", "hybrid"],
          haproxyKinds,
          (mode, disturbances, seed) => haproxyUnderWork(server, mode, disturbances, { seed }),
          random,
        ),
    ]),
  ),
};

/** Their names. */
export const CLUSTERS: readonly string[] = Object.keys(EPISODES);

/** Has clusters fail until the time is over; returns whether every promise held. */
export async function soakClusters(
  kinds: readonly string[] = CLUSTERS,
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
