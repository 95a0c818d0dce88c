/**
 * One trial: workers use locks for a while, things go wrong, and the checker judges the history.
 *
 * @module
 */
import { connect, getLock, listLocks, type Mode } from "@lockmgr/lockmgr";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { check, type Verdict } from "../history/checker.ts";
import { sharedClock } from "../history/clock.ts";
import { watchStalls } from "../history/stalls.ts";
import type { Environment, Fixture } from "./environments.ts";
import { type SharedConfig, Workers } from "./workers.ts";
import type { Fault, Scene } from "./faults.ts";
import { Proxy } from "./proxy.ts";
import { seeded } from "./random.ts";

/** How a trial is held. */
export interface TrialOptions {
  /** The same seed makes the same choices; what the kernel does in between is its own. */
  readonly seed: number;
  /** How long the work takes; in turn, at most. */
  readonly seconds: number;
  /** How many processes work at once. @default 4 */
  readonly count?: number;
  /** How many callers each process has, which only acquire and give up. @default 1, which does everything */
  readonly callers?: number;
  /** Whether each fault happens once, one after the other, instead of all of them all the time. @default false */
  readonly inTurn?: boolean;
}

/** What came of a trial. */
export interface Result {
  readonly verdict: Verdict;
  /** What went wrong with processes and connections: they broke, hung, or stayed. */
  readonly breakages: readonly string[];
  /** How often things went wrong on purpose. */
  readonly strikes: number;
  /** How many holds began when all faults were over: only in turn. */
  readonly recovered: number;
  /** Where the history is, when it was judged badly. */
  readonly kept: string | undefined;
}

/** The shortest lease that workers ask for, in seconds. */
const SHORTEST = 0.2;
/** How long workers wait for a lock at most (s). */
const PATIENCE = { long: 3, brief: 1 };
/** All is calm after the faults in turn for so long (ms), and until a lock is acquired, which is waited for so long. */
const CALM = { least: 500, most: 15_000 };
/** Until when the last request for a name must be served, behind waiters that were killed (s). */
const LAST_SERVED = 30;
/** Until when the server must have seen that connections have ended (ms). */
const FAREWELL = 10_000;

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** Strikes for as long as the work lasts. What is done to the server itself takes turns: one that is down can do nothing. */
async function strikeOnAndOn(fault: Fault, scene: Scene, atServer: Turns): Promise<number> {
  let strikes = 0;
  for (; fault.strike && scene.workers.left > 0; strikes++) {
    const disturbsServer = fault.needs === "server" || fault.needs === "nodes"; // of nodes, one at a time is away
    await (disturbsServer ? atServer(() => fault.strike!(scene)) : fault.strike(scene));
  }
  return strikes;
}

/** Does one thing after the other. */
type Turns = (work: () => Promise<void>) => Promise<void>;

function turns(): Turns {
  let last = Promise.resolve();
  return (work) => last = last.then(work);
}

/** Each fault once, in an order of chance. */
async function strikeInTurn(faults: readonly Fault[], scene: Scene): Promise<number> {
  const waiting = faults.filter(({ strike }) => strike);
  const strikes = waiting.length;
  while (waiting.length > 0) {
    await waiting.splice(Math.floor(scene.random.between(0, waiting.length)), 1)[0].strike!(scene);
  }
  return strikes;
}

/** All faults at once. */
async function strikeTogether(faults: readonly Fault[], scene: Scene, seed: number): Promise<number> {
  const atServer = turns();
  const strikes = await Promise.all(
    faults.map((fault, index) => strikeOnAndOn(fault, { ...scene, random: seeded(seed + index + 1) }, atServer)),
  );
  return strikes.reduce((sum, one) => sum + one, 0);
}

/** Comes back when a lock was acquired after a time, or not for too long. */
async function recovery(workers: Workers, calmFrom: number): Promise<void> {
  const until = performance.now() + CALM.most;
  let acquired = false;
  while (!acquired && performance.now() < until) {
    await sleep(CALM.least);
    acquired = (await workers.history()).some(({ kind, at }) => kind === "hold began" && at > calmFrom);
  }
}

/** Lets things go wrong while the workers work, until all have ended. */
async function work(scene: Scene, faults: readonly Fault[], { seed, inTurn }: TrialOptions) {
  const { workers, proxy } = scene;
  using _stalls = (proxy || scene.fixture.nodes) && watchStalls("tests", workers.note);
  const strikes = await (inTurn ? strikeInTurn(faults, scene) : strikeTogether(faults, scene, seed));
  const calmFrom = sharedClock();
  if (inTurn) {
    await recovery(workers, calmFrom);
    workers.finish();
  }
  await workers.ended();
  await proxy?.close();
  return { strikes, calmFrom };
}

/** Once all workers have ended the server has no connection of theirs. */
async function connectionsLeft(fixture: Fixture): Promise<string | undefined> {
  const until = performance.now() + FAREWELL;
  let left = await fixture.server?.connections() ?? 0;
  for (; left > 0 && performance.now() < until; left = await fixture.server!.connections()) await sleep(20);
  return left > 0 ? `the server still has ${left} connections of workers that have ended` : undefined;
}

/** Waits until every name has been served, and returns what is in the table then. */
async function rowsLeft({ target, options }: Fixture, mode: Mode, names: readonly string[]): Promise<string[]> {
  await using backend = await connect(target, { ...options, mode });
  const last = await Promise.all(names.map((name) => getLock(name, { backend, wait: LAST_SERVED })));
  for (const lock of last) await lock.unlock();
  const left = await listLocks({ backend, includeExpired: true });
  return left.map(({ name, waiters }) => `"${name}" is left with ${waiters} waiters`);
}

/** Holds a trial with faults. */
export async function trial(
  environment: Environment,
  faults: readonly Fault[],
  options: TrialOptions,
): Promise<Result> {
  const { seed, seconds, count = 4, callers, inTurn = false } = options;
  const random = seeded(seed);
  const names = ["first", "Zweite", "третья"];
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-history-"));
  await using fixture = await environment.open(faults.some(({ needs }) => needs === "disk"));
  const proxied = faults.some(({ needs }) => needs === "proxy");
  await using proxy = proxied ? await Proxy.start(fixture.server!.port) : undefined;
  const { mode, shortestLease: shortest = SHORTEST, tolerance } = environment;
  const whole: SharedConfig = {
    ...Object.assign({}, ...faults.map(({ config }) => config)),
    target: proxy ? fixture.server!.targetAt(proxy.port) : fixture.target,
    options: fixture.options,
    mode,
    callers,
    names,
    shortest,
    patience: inTurn ? PATIENCE.brief : PATIENCE.long,
  };
  await using workers = new Workers(whole, directory, seconds);
  for (let index = 0; index < count; index++) workers.spawn(Math.floor(random.between(0, 2 ** 31)));
  await workers.started();
  const scene: Scene = { workers, fixture, proxy, random, lease: shortest * 1e3, brief: inTurn };
  const { strikes, calmFrom } = await work(scene, faults, options);
  const stayed = await connectionsLeft(fixture);
  const verdict = check(await workers.history(), { waiting: 2, sessions: mode !== "lease", ...tolerance });
  const rows = callers ? await rowsLeft(fixture, mode, names) : [];
  const breakages = [...workers.breakages, ...stayed ? [stayed] : [], ...rows];
  const good = verdict.offences.length === 0 && breakages.length === 0;
  if (good) await rm(directory, { recursive: true });
  const recovered = verdict.seen.beginnings.filter((at) => at > calmFrom).length;
  return { verdict, breakages, strikes, recovered, kept: good ? undefined : directory };
}
