/** One process that uses locks in every way for a while, and writes down what came of it. */
import type { Backend, Lock } from "@lockmgr/lockmgr";
import { existsSync } from "node:fs";
import process from "node:process";
import { sharedClock } from "../history/clock.ts";
import { Aborted, fileSink, Recorder } from "../history/recorder.ts";
import { type Stalls, stallsFirst, watchStalls } from "../history/stalls.ts";
import { whileGuarded } from "./guarded.ts";
import type { WorkerConfig } from "./worker_config.ts";
import { seeded } from "./random.ts";
import { connectionsOfOurs } from "./sockets.ts";
import { wildClock } from "./wild_clock.ts";

const config: WorkerConfig = JSON.parse(process.argv[2]);
const random = seeded(config.seed);
if (config.wildClock) wildClock(seeded(config.seed + 1));
const { BackendError, connect } = await import("@lockmgr/lockmgr"); // after the clock has gone wild

const file = fileSink(config.history);
let stalls: Stalls | undefined;
const sink = stallsFirst(file, () => stalls);
let endsAt = performance.now() + config.seconds * 1e3;
/** Looks whether connections are closed after disposal, 10 ms apart. */
const FAREWELL = 200;
const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));
const rows = config.mode !== "session";
const isEtcd = config.target.startsWith("etcd:");
if (isEtcd) await import("../../examples/backends/etcd.ts");
const guards = !config.target.startsWith("sqlite:") && !isEtcd;

/** Looks at a lock every few milliseconds for a while, or for as long as it is held. */
async function hold(lock: Lock, milliseconds: number): Promise<void> {
  const until = performance.now() + milliseconds;
  while (hand.believes(lock) && performance.now() < until) await sleep(random.between(0, 6));
}

const name = () => random.pick(config.names);
/** Half of the locks are exclusive, where others can be had. */
const sharing = () =>
  backend!.queueing ? random.pick([{}, {}, {}, { shared: true }, { shared: true }, { limit: 3 }]) : {};
const lease = () => config.shortest * random.between(1, 2);

/** A short hold, with a look at the server or a renewal in between. */
async function work(): Promise<void> {
  const lock = await hand.acquire(name(), {
    expires: rows ? lease() * 2 : undefined,
    wait: random.between(0, config.patience),
    ...sharing(),
  });
  if (lock === undefined) return await sleep(random.between(0, 10));
  await hold(lock, random.between(0, 20));
  if (random.next() < 0.2) await hand.verify(lock);
  if (rows && random.next() < 0.2) await hand.renew(lock, lease() * 2);
  const adopts = config.mode === "lease" && backend!.adopt && random.next() < 0.3;
  const held = adopts ? await hand.handOver(lock, lease() * 2) : lock;
  if (held === undefined) return;
  await hold(held, random.between(0, 5));
  await hand.release(held);
}

/** Stays until the lease is over, and then does what a stale holder should not. */
async function overstay(): Promise<void> {
  const lock = await hand.acquire(name(), { expires: lease(), wait: random.between(0, config.patience), ...sharing() });
  if (lock === undefined) return;
  await hold(lock, Infinity);
  await sleep(random.between(0, 30));
  if (random.next() < 0.5) await hand.renew(lock, 1);
  await hand.release(lock);
}

/** Has a lease kept alive for longer than it would last. */
async function keep(): Promise<void> {
  const lock = await hand.acquire(name(), { expires: lease(), wait: 1, autoRenew: true, ...sharing() });
  if (lock === undefined) return;
  await hold(lock, config.shortest * 2e3);
  await hand.release(lock);
}

/** Does not run for longer than the lease lasts, and goes on as if nothing had been. */
async function block(): Promise<void> {
  const expires = lease();
  const lock = await hand.acquire(name(), { expires, wait: 1, autoRenew: random.next() < 0.5 });
  if (lock === undefined) return;
  hand.believes(lock);
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, expires * random.between(1.1, 1.6) * 1e3);
  await hold(lock, 5);
  await hand.release(lock);
}

/** Several names or none, and a look at what is there. */
async function set(): Promise<void> {
  const locks = await hand.set([name(), name(), `${name()}'s own`], lease() * 2);
  if (locks) await sleep(random.between(0, 10));
  await hand.list();
  for (const lock of locks ?? []) await hand.release(lock);
}

/** A release that meets a row which a transaction keeps for a while. */
async function releaseGuarded(): Promise<void> {
  const lock = await hand.acquire(name(), { expires: lease() * 2, wait: random.between(0, config.patience) });
  if (lock === undefined) return;
  let release: Promise<unknown> | undefined;
  await whileGuarded(config.target, lock, async () => {
    release = hand.release(lock);
    await sleep(random.between(0, 300));
  });
  await release;
}

let own = 0;

/** A name that no other client wants: it is free, or the database cannot say so. */
async function takeOwn(): Promise<void> {
  const lock = await hand.acquire(`${config.worker} alone ${++own}`, { expires: rows ? lease() : undefined });
  if (lock) await hand.release(lock);
}

/** A lock that never expires, so that what is left of it stays. */
async function takeForGood(): Promise<void> {
  const lock = await hand.acquire(name(), { expires: null, wait: random.between(0, config.patience) });
  if (lock === undefined) return;
  await hold(lock, random.between(0, 20));
  await hand.release(lock);
}

/** An attempt that is aborted at any moment of it. */
async function abort(): Promise<void> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Aborted("aborted")), random.between(0, 30));
  const wish = { expires: rows ? lease() : undefined, wait: random.between(0, config.patience), ...sharing() };
  const lock = await hand.acquire(name(), { ...wish, signal: controller.signal });
  clearTimeout(timer);
  if (lock) await hand.release(lock);
}

/** Numbers for the operations of each further backend. */
const NUMBERS = 1e6;
let guests = 0;

/** A backend that is disposed of at any moment of an attempt. */
async function leave(): Promise<void> {
  const backend = await open();
  if (backend === undefined) return;
  const guest = new Recorder(config.worker, backend, sink, NUMBERS * ++guests);
  const wish = { expires: rows ? lease() : undefined, wait: random.between(0, config.patience) };
  const attempts = [guest.acquire(name(), wish), guest.acquire(`${config.worker} guest ${guests}`, wish)];
  await sleep(random.between(0, 20));
  await guest.close();
  await Promise.all(attempts);
}

async function tidy(): Promise<void> {
  if (rows && random.next() < 0.5) await hand.clean();
  await hand.list();
}

/** A database may be out of reach when a process starts. */
async function open(): Promise<Backend | undefined> {
  while (performance.now() < endsAt && !existsSync(config.over)) {
    try {
      return await connect(config.target, { ...config.options, mode: config.mode });
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      await sleep(50);
    }
  }
}

const backend = await open();
if (backend === undefined) process.exit(0);
endsAt = performance.now() + config.seconds * 1e3; // opening does not count
if (config.diesReleasing) {
  const release = backend.release.bind(backend);
  backend.release = async (targets) => {
    const released = await release(targets);
    if (random.next() < 0.03) process.kill(process.pid, "SIGKILL");
    return released;
  };
}
const hand = new Recorder(config.worker, backend, sink);
{
  using watching = stalls = watchStalls(config.worker, file);
  void watching;
  const acts = rows
    ? [
      work,
      work,
      work,
      work,
      work,
      work,
      keep,
      overstay,
      set,
      set,
      takeOwn,
      takeOwn,
      takeForGood,
      abort,
      abort,
      leave,
      tidy,
      ...guards ? [releaseGuarded] : [],
      ...config.blocks ? [block, block, block] : [],
    ]
    : [work, work, work, work, work, takeOwn, abort, leave, tidy];
  const chosen = config.callers ? [work, work, work, abort] : acts;
  const call = async () => {
    while (performance.now() < endsAt && !existsSync(config.over)) await random.pick(chosen)();
  };
  await Promise.all(Array.from({ length: config.callers ?? 1 }, call));
}
await hand.close();
const connections = () => isEtcd ? [] : connectionsOfOurs(); // `fetch` keeps its connections for a while
let left = connections();
for (let tries = 0; left.length > 0 && tries < FAREWELL; tries++, left = connections()) await sleep(10);
if (left.length > 0) throw new Error(`the backend was disposed of, and left connections: ${left.join(", ")}`);
sink({ kind: "ended", at: sharedClock(), worker: config.worker });
