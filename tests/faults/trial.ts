/**
 * One trial: workers use locks for a while, things go wrong, and the checker judges the history.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check, type Verdict } from "../history/checker.ts";
import type { Arena } from "./arenas.ts";
import { Crew } from "./crew.ts";
import type { Fault, Scene } from "./faults.ts";
import { Proxy } from "./proxy.ts";
import { seeded } from "./random.ts";

/** How a trial is held. */
export interface TrialOptions {
  /** The same seed makes the same choices; what the kernel does in between is its own. */
  readonly seed: number;
  readonly seconds: number;
  /** How many processes work at once. @default 4 */
  readonly workers?: number;
}

/** What came of a trial. */
export interface Result {
  readonly verdict: Verdict;
  /** What went wrong with processes: they broke, or hung. */
  readonly breakages: readonly string[];
  /** How often things went wrong on purpose. */
  readonly strikes: number;
  /** Where the history is, when it was judged badly. */
  readonly kept: string | undefined;
}

/** The shortest lease that workers ask for, in seconds: on a server, a crash takes about one. */
const SHORTEST = { lease: 0.2, hybrid: 0.2, session: 0.2 } as const;

async function strikeOnAndOn(fault: Fault, scene: Scene): Promise<number> {
  let strikes = 0;
  for (; fault.strike && scene.crew.left > 0; strikes++) await fault.strike(scene);
  return strikes;
}

/** Holds a trial with faults, all of them at once. */
export async function trial(arena: Arena, faults: readonly Fault[], options: TrialOptions): Promise<Result> {
  const random = seeded(options.seed);
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-history-"));
  await using ground = await arena.open(faults.some(({ needs }) => needs === "disk"));
  const proxied = faults.some(({ needs }) => needs === "proxy");
  await using proxy = proxied ? await Proxy.start(ground.server!.port) : undefined;
  const target = proxy ? ground.server!.targetAt(proxy.port) : ground.target;
  const orders = Object.assign({}, ...faults.map(({ orders }) => orders));
  const { mode } = arena;
  const shortest = SHORTEST[mode];
  const names = ["first", "Zweite", "третья"];
  const whole = { ...orders, target, options: ground.options, mode, names, shortest };
  await using crew = new Crew(whole, directory, options.seconds);
  for (let count = 0; count < (options.workers ?? 4); count++) crew.hire(Math.floor(random.between(0, 2 ** 31)));
  await crew.atWork();
  const scene = { crew, ground, proxy, lease: shortest * 1e3 };
  const strikes = await Promise.all(
    faults.map((fault, index) => strikeOnAndOn(fault, { ...scene, random: seeded(options.seed + index + 1) })),
  );
  const verdict = check(await crew.history(), { waiting: 2, sessions: mode !== "lease" });
  const { breakages } = crew;
  const good = verdict.offences.length === 0 && breakages.length === 0;
  if (good) await rm(directory, { recursive: true });
  return {
    verdict,
    breakages,
    strikes: strikes.reduce((sum, one) => sum + one, 0),
    kept: good ? undefined : directory,
  };
}
