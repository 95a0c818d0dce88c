/**
 * Clients that end at random moments, by a disposal, an abort or a SIGTERM: `deno task soak --endings --engine mysql`.
 * Once a client has ended, each name that it wanted is free: one attempt of another client acquires it.
 *
 * @module
 */
import { type Backend, connect, getLock, type Lock, tryLock } from "@lockmgr/lockmgr";
import { loadavg } from "node:os";
import process from "node:process";
import { Place, untilListening } from "../cli/program.ts";
import type { Environment, Fixture } from "./environments.ts";
import { begin, COMMANDS, type Wanted } from "./ending_clients.ts";
import { type Random, seeded } from "./random.ts";

/** How many of the clients end in each way, and how many of them run side by side. */
const ENDINGS = {
  disposal: { share: 1, abreast: 5 },
  abort: { share: 1, abreast: 5 },
  SIGTERM: { share: 0.3, abreast: 4 },
};
type Way = keyof typeof ENDINGS;
/** Few enough connections for all clients that run side by side. */
const CONNECTIONS = 4;
/** How long a name may stay held after an abort, while the backend stays open (s): a statement under way is awaited. */
const FREE_WITHIN = 2;
/** How long an ending may take (ms): a disposal's 2 s, and what a busy machine adds. */
const ENDED_WITHIN_MS = 6_000;
/** A process that has not ended by then hangs (ms). */
const HANGS_MS = 30_000;

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** What all clients of one environment share. */
interface Scene {
  readonly environment: Environment;
  readonly fixture: Fixture;
  /** Holds the names that clients wait for. */
  readonly holder: Backend;
  /** Tries the names of clients that have ended. */
  readonly other: Backend;
  /** How long a command takes from its first signal handler to its end (ms). */
  readonly commandMs: number;
}

/** What came of one ending. */
interface Outcome {
  /** How many names were tried, and how many calls or commands were under way. */
  readonly names: number;
  readonly underWay: number;
  /** How long the ending took (ms). */
  readonly took: number;
  /** What must not be. */
  readonly offences: readonly string[];
}

/** A random moment (ms): many at once, most within the time of a few statements. */
function moment(random: Random): number {
  return random.between(0, random.pick([0, 3, 12, 12, 60, 300]));
}

/** Tries each name once, or waits for it, and returns those that are held. */
async function heldOf({ other }: Scene, names: readonly string[], wait = 0): Promise<string[]> {
  const tries = names.map(async (name) => {
    const lock = await tryLock(name, { backend: other, wait });
    await lock?.unlock();
    return lock === undefined ? [name] : [];
  });
  return (await Promise.all(tries)).flat();
}

/** Describes the names that are held although no client holds them. */
async function describe({ other, environment }: Scene, names: readonly string[], when: string): Promise<string[]> {
  if (names.length === 0) return [];
  const rows = environment.mode === "session" ? [] : await other.list({ names });
  return names.map((name) => {
    const { lockedUntil = undefined, now = undefined, waiters = 0 } = rows.find((row) => row.name === name) ??
      {};
    const left = lockedUntil === undefined
      ? "no row"
      : lockedUntil === null
      ? "no expiry"
      : `${(lockedUntil - now!) / 1e6} s`;
    return `${name} is held ${when} (${left}, ${waiters} waiters)`;
  });
}

/** A backend of a client that is going to end; half of them have been used before. */
async function openClient({ environment, fixture }: Scene, id: string, random: Random): Promise<Backend> {
  const { mode, served } = environment;
  const few = served ? { maxConnections: CONNECTIONS } : {};
  const backend = await connect(fixture.target, { ...fixture.options, mode, ...few });
  if (random.next() < 0.5) await (await getLock(`${id} before`, { backend })).unlock();
  return backend;
}

/** Releases the lock that clients wait for at some moment; resolves when it is free. */
async function releaseAt(lock: Lock, at: number): Promise<void> {
  await sleep(at);
  await lock.unlock();
}

/** Ends a client of this process, by a disposal, or by an abort which a disposal follows at once or much later. */
async function endHere(scene: Scene, way: Way, id: string, random: Random): Promise<Outcome> {
  const awaited = `${id} awaited`;
  const held = await getLock(awaited, { backend: scene.holder });
  const backend = await openClient(scene, id, random);
  const pause = moment(random);
  const aborting = new AbortController();
  const reason = new Error("stopped");
  const client = begin(backend, {
    id,
    awaited,
    rows: scene.environment.mode !== "session",
    random,
    signal: aborting.signal,
  });
  const released = releaseAt(held, Math.max(0, pause + random.between(-6, 6)));
  await sleep(pause);
  const offences: string[] = [];
  const underWay = client.underWay();
  const staysOpen = way === "abort" && random.next() < 0.5;
  const from = performance.now();
  if (way === "abort") {
    aborting.abort(reason);
    client.letGo();
  }
  if (staysOpen) {
    const { refused, kept } = await client.aborted();
    await Promise.all([...kept, released]);
    const stay = await heldOf(scene, [...refused, awaited], FREE_WITHIN);
    offences.push(...await describe(scene, stay, `${FREE_WITHIN} s after an abort at ${pause} ms`));
  }
  const disposedAt = performance.now();
  await backend[Symbol.asyncDispose]();
  const took = performance.now() - (staysOpen ? disposedAt : from);
  if (took > ENDED_WITHIN_MS) offences.push(`the disposal of ${id} took ${took} ms`);
  const expired = new Set(client.expired());
  const first = await heldOf(scene, client.names.filter((name) => !expired.has(name)));
  offences.push(...await describe(scene, first, `after a ${way} at ${pause} ms that took ${took} ms`));
  const later = await heldOf(scene, [...expired], FREE_WITHIN);
  offences.push(...await describe(scene, later, `${FREE_WITHIN} s after a ${way}`));
  client.letGo();
  await released;
  const last = await heldOf(scene, [awaited]);
  offences.push(...await describe(scene, last, `after a ${way} at ${pause} ms, and a release`));
  offences.push(...await client.ended(reason));
  return { names: client.names.length + 1, underWay, took, offences };
}

/** Ends a command by SIGTERM. */
async function endCommand(scene: Scene, place: Place, id: string, random: Random): Promise<Outcome> {
  const wanted: Wanted = { own: [`${id} a`, `${id} b`], awaited: `${id} awaited` };
  const held = await getLock(wanted.awaited, { backend: scene.holder });
  const { args, keeps = false } = random.pick(
    COMMANDS.filter(({ rows }) => !rows || scene.environment.mode !== "session"),
  );
  const words = args(wanted);
  const running = place.start(words);
  await untilListening(running.process.pid!);
  const pause = random.between(0, scene.commandMs * 1.2);
  const released = releaseAt(held, Math.max(0, pause + random.between(-10, 20)));
  await sleep(pause);
  const underWay = running.process.exitCode === null ? 1 : 0;
  const from = performance.now();
  running.kill("SIGTERM");
  const hanging = setTimeout(() => running.kill("SIGKILL"), HANGS_MS);
  const { code, signal, stderr } = await running.ended;
  clearTimeout(hanging);
  const took = performance.now() - from;
  const offences: string[] = [];
  const when = `after SIGTERM to ${words.join(" ")} at ${pause} ms, which took ${took} ms`;
  const isExpected = code === 0 || code === 143 || signal === "SIGTERM";
  if (!isExpected || took > ENDED_WITHIN_MS) offences.push(`${code ?? signal} ${when}: ${stderr}`);
  const names = keeps && code === 0 ? [] : wanted.own;
  offences.push(...await describe(scene, await heldOf(scene, names), when));
  await released;
  offences.push(...await describe(scene, await heldOf(scene, [wanted.awaited]), `${when}, and a release`));
  return { names: names.length + 1, underWay, took, offences };
}

/** Measures how long a command takes once it listens. */
async function timeOfCommand(place: Place): Promise<number> {
  let longest = 0;
  for (let round = 0; round < 3; round++) {
    const running = place.start(["run", "timed", "--", "true"]);
    await untilListening(running.process.pid!);
    const from = performance.now();
    const { code, stderr } = await running.ended;
    if (code !== 0) throw new Error(`Cannot run a command: ${code} ${stderr}`);
    longest = Math.max(longest, performance.now() - from);
  }
  return longest;
}

/** Ends many clients in one way, some side by side. Returns the number of offences. */
async function endMany(scene: Scene, place: Place, way: Way, many: number, seed: number): Promise<number> {
  const { share, abreast } = ENDINGS[way];
  const count = Math.ceil(many * share);
  const total = { endings: 0, underWay: 0, names: 0, longestMs: 0, offences: 0 };
  let next = 0;
  const lane = async () => {
    while (next < count) {
      const random = seeded(seed + next);
      const id = `${way} ${next++}`;
      const ending = way === "SIGTERM" ? endCommand(scene, place, id, random) : endHere(scene, way, id, random);
      const { names, underWay, took, offences } = await ending;
      total.endings++;
      total.names += names;
      total.underWay += underWay;
      total.longestMs = Math.max(total.longestMs, Math.ceil(took));
      total.offences += offences.length;
      for (const offence of offences) console.error(`${scene.environment.name}: ${offence}`);
    }
  };
  await Promise.all(Array.from({ length: abreast }, lane));
  console.log(`${scene.environment.name}: ${way}: ${JSON.stringify(total)}, load ${loadavg()[0].toFixed(1)}`);
  return total.offences;
}

/** The address of a database as the command line takes it. */
function withMode(target: string, { mode, name, served }: Environment): string {
  if (!served) return target;
  const url = new URL(target);
  if (name.startsWith("mariadb")) url.protocol = "mariadb:";
  url.searchParams.set("lockmgr_mode", mode);
  return url.href;
}

/** Ends so many clients in every way; returns whether every name was free afterwards. */
export async function soakEndings(environments: readonly Environment[], seed: number, many: number): Promise<boolean> {
  const random = seeded(seed);
  let offences = 0;
  process.on("warning", (warning) => console.error(String(warning)));
  for (const environment of environments) {
    await using fixture = await environment.open();
    const options = { ...fixture.options, mode: environment.mode };
    await using holder = await connect(fixture.target, options);
    await using other = await connect(fixture.target, options);
    await using place = await Place.make(withMode(fixture.target, environment));
    const scene = { environment, fixture, holder, other, commandMs: await timeOfCommand(place) };
    for (const way of Object.keys(ENDINGS) as Way[]) {
      offences += await endMany(scene, place, way, many, Math.floor(random.between(0, 2 ** 31)));
    }
  }
  console.log(JSON.stringify({ seed, offences }));
  return offences === 0;
}
