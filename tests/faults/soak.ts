/**
 * Everything that can go wrong, mixed, for as long as wanted: `deno task soak --minutes 10 --engine sqlite --seed 7`, or
 * with `--cluster` promotions of standbys under work, with `--callers` many callers that are killed and give up, or with
 * `--endings` a thousand clients in each mode that end at random moments.
 * Ends with 1 as soon as a promise was broken, and says how to repeat the run.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { report } from "../history/checker.ts";
import { engines, type Environment, examples } from "./environments.ts";
import { agree, concerns, type Fault, faults, killed } from "./faults.ts";
import { type Random, seeded } from "./random.ts";
import { mayMount } from "./small_disk.ts";
import { trial } from "./trial.ts";

/** How long one trial of the mix lasts, in seconds, and how many processes work at it. */
const TRIAL = 10;
const WORKERS = 5;
/** The same with many callers. */
const MANY_CALLERS = { seconds: 120, count: 8, callers: 16 };
/** Leaves many callers time to queue (ms). */
const BETWEEN_KILLS = { least: 500, most: 2_500 };

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    engine: { type: "string" },
    cluster: { type: "boolean" },
    callers: { type: "boolean" },
    endings: { type: "boolean" },
    count: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
});

const seldomKilled: Fault = {
  ...killed,
  async strike(scene) {
    await new Promise((resolve) => setTimeout(resolve, scene.random.between(BETWEEN_KILLS.least, BETWEEN_KILLS.most)));
    await killed.strike!(scene);
  },
};

/** One to three faults at once. */
function mix(environment: Environment, random: Random, disks: boolean): Fault[] {
  if (values.callers) return [seldomKilled];
  const possible = faults.filter((fault) => concerns(fault, environment) && (fault.needs !== "disk" || disks));
  const count = random.pick([1, 2, 3]);
  for (;;) {
    const chosen = new Set<Fault>();
    while (chosen.size < Math.min(count, possible.length)) chosen.add(random.pick(possible));
    if (agree([...chosen], environment)) return [...chosen];
  }
}

async function soak(here: readonly Environment[], seed: number, until: number): Promise<boolean> {
  const random = seeded(seed);
  const disks = await mayMount();
  const total = { trials: 0, strikes: 0, operations: 0, holds: 0, losses: 0 };
  for (let round = 0; performance.now() < until; round++) {
    const environment = here[round % here.length];
    const chosen = mix(environment, random, disks);
    const trialSeed = Math.floor(random.between(0, 2 ** 31));
    const what = `${environment.name}: ${chosen.map(({ name }) => name).join(" + ")}`;
    const { verdict, breakages, strikes, kept } = await trial(environment, chosen, {
      seed: trialSeed,
      ...(values.callers ? MANY_CALLERS : { seconds: TRIAL, count: WORKERS }),
    });
    console.log(`${what}: ${strikes} strikes, ${report(verdict)}`);
    if (kept) {
      console.error(`${breakages.join("\n")}\nhistory in ${kept}; repeat with --seed ${seed}`);
      return false;
    }
    total.trials++;
    total.strikes += strikes;
    for (const key of ["operations", "holds", "losses"] as const) total[key] += verdict.seen[key];
  }
  console.log(JSON.stringify({ seed, ...total }));
  return true;
}

/** What was wanted: single servers, clusters of them, or clients that end. */
async function soaking(): Promise<(seed: number, until: number) => Promise<boolean>> {
  const chosen = values.engine?.split(",");
  if (values.cluster) {
    const { CLUSTERS, soakClusters } = await import("../clusters/soak.ts");
    if (chosen?.some((kind) => !CLUSTERS.includes(kind))) refuse(CLUSTERS.join(","));
    return (seed, until) => soakClusters(chosen, seed, until);
  }
  const here: Environment[] = [];
  for (const engine of chosen ?? Object.keys(engines)) {
    const start = { ...engines, ...values.endings ? {} : examples }[engine]; // the command line knows no examples
    if (start) here.push(...(await start()).filter(({ mode }) => !values.callers || mode !== "session"));
  }
  if (here.length === 0) refuse();
  if (!values.endings) return (seed, until) => soak(here, seed, until);
  const { soakEndings } = await import("./endings.ts");
  return (seed) => soakEndings(here, seed, Number(values.count));
}

function refuse(known = "X"): never {
  const wanted = `want --minutes N [--engine ${known}] [--seed S] [--cluster] [--callers] [--endings [--count N]]`;
  console.error(`Cannot soak with ${process.argv.slice(2).join(" ")}: ${wanted}`);
  process.exit(64);
}

const seed = Number(values.seed);
const minutes = Number(values.minutes);
if (!Number.isSafeInteger(seed) || !(minutes > 0) || !(Number(values.count) > 0)) refuse();
const run = await soaking();
console.log(`--seed ${seed}`);
process.exit(await run(seed, performance.now() + minutes * 60e3) ? 0 : 1); // servers end with this process
