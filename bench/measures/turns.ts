/**
 * Turns of one contestant in a process of its own, as it would be in a program: code that has served one backend only
 * is faster than code that has seen ten.
 *
 * @module
 */
import { stateOf } from "../../core/wait/backend_state.ts";
import { type Backend, getLock, type Mode, tryLock } from "../../mod.ts";
import { closeAll, modesOf, ONE_CONNECTION, open, openNarrow, openOurs, pair, singlePair } from "../contestants.ts";
import { openFloor, openWebLocks, WEB_LOCKS } from "../floors.ts";
import { type Engine, enginesOf, labels, type Places } from "../places.ts";
import { throughput, timed } from "../rounds.ts";

/** One turn. */
export interface TurnOrder {
  readonly places: Places;
  /** Who is in this process. */
  readonly group: string;
  /** What it does. */
  readonly label: string;
  /** How many callers do it at once; one alone is asked for its time (µs), many for their number in a second. */
  readonly callers: number;
  /** How long (ms). */
  readonly turn: number;
}

/** What a caller does, by its number. */
type Work = (caller: number) => unknown;

/** The pair through what joins callers, and nothing else of the core. */
async function joinedPair(backend: Backend, name: string): Promise<void> {
  const { acquire, release } = stateOf(backend);
  const owner = crypto.randomUUID();
  const duration = backend.mode === "session" ? null : 600e6; // µs, the library's default
  await acquire.send({
    name,
    owner,
    duration,
    lockedBy: "bench",
    lockProcess: null,
    metadata: null,
    limit: 1,
  });
  await release.send({ name, owner });
}

async function floorWork(places: Places, engine: Engine, opened: AsyncDisposable[]): Promise<Record<string, Work>> {
  const floor = await openFloor(places, engine);
  opened.push(floor);
  const label = labels[engine];
  return {
    [`${label} round trip`]: () => floor.roundTrip(),
    [`${label} durable upsert`]: () => floor.upsert(),
    [`${label}, 2 round trips`]: async () => {
      await floor.roundTrip();
      await floor.roundTrip();
    },
  };
}

async function ourWork(places: Places, engine: Engine, mode: Mode, opened: AsyncDisposable[]) {
  const ours = await openOurs(places, engine, mode);
  const { backend, label } = ours;
  const other = await open(places, engine, mode);
  const busy = `busy ${mode} ${crypto.randomUUID()}`;
  const narrow = engine === "sqlite" ? undefined : await openNarrow(places, engine, mode);
  opened.push(ours, other, ...narrow ? [narrow] : [], await getLock(busy, { backend: other }));
  const work: Record<string, Work> = {
    [label]: (caller) => pair(ours, `name ${caller}`),
    [`${label}, one statement each`]: (caller) => singlePair(backend, `name ${caller}`),
    ...narrow && { [`${label}, ${ONE_CONNECTION}`]: (caller) => singlePair(narrow, `name ${caller}`) },
    [`${label}, statements joined`]: (caller) => joinedPair(backend, `name ${caller}`),
    [`${label}, failed try`]: async () => {
      if (await tryLock(busy, { backend })) throw new Error("A name that is held was granted");
    },
  };
  return work;
}

async function redisFloor(places: Places, opened: AsyncDisposable[]): Promise<Record<string, Work>> {
  const { openRedisFloor } = await import("../rivals.ts");
  const floor = openRedisFloor(places.redis!);
  opened.push(floor);
  return {
    "Redis round trip": () => floor.ping(),
    "Redis, 2 round trips": async () => {
      await floor.ping();
      await floor.ping();
    },
  };
}

/** A rival, or the runtime's own lock: a pair, and a failed try where it has one. */
async function otherWork(places: Places, group: string, opened: AsyncDisposable[]): Promise<Record<string, Work>> {
  const other = group === WEB_LOCKS ? openWebLocks() : await (await import("../rivals.ts")).rivalsOn(places)[group]();
  opened.push(other);
  const { label } = other;
  const work = { [label]: (caller: number) => pair(other, `name ${caller}`) };
  if (other.tries === undefined) return work;
  const busy = `busy ${crypto.randomUUID()}`;
  await other.take(busy);
  return {
    ...work,
    [`${label}, failed try`]: async () => {
      if (await other.tries!(busy)) throw new Error("A name that is held was granted");
    },
  };
}

/** Everything that a group can do. */
async function workOf(places: Places, group: string, opened: AsyncDisposable[]): Promise<Record<string, Work>> {
  for (const engine of enginesOf(places)) {
    if (group === labels[engine]) return await floorWork(places, engine, opened);
    const mode = modesOf(engine).find((mode) => group === `${labels[engine]} ${mode}`);
    if (mode) return await ourWork(places, engine, mode, opened);
  }
  return group === "Redis" ? await redisFloor(places, opened) : await otherWork(places, group, opened);
}

/** What is open in this process. */
export class Turns {
  #work: Record<string, Work> | undefined;
  readonly #opened: AsyncDisposable[] = [];

  /** Takes a turn. */
  async take({ places, group, label, callers, turn }: TurnOrder): Promise<number> {
    this.#work ??= await workOf(places, group, this.#opened);
    const run = this.#work[label];
    if (callers > 1) return await throughput(callers, turn, async (caller) => await run(caller));
    return await timed(turn, () => run(0));
  }

  /** Closes everything. */
  close(): Promise<void> {
    return closeAll(this.#opened);
  }
}
