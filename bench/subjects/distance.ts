/**
 * A server that is far away: every message takes longer, so that only the number of round trips counts.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { type Backend, connect, getLock, getLocks, tryLock } from "../../mod.ts";
import { Proxy } from "../../tests/faults/proxy.ts";
import { modesOf } from "../contestants.ts";
import { openFloor } from "../floors.ts";
import { type Engine, enginesOf, labels, type Places } from "../places.ts";
import { inTurns } from "../rounds.ts";
import { atMost, figure, subject } from "../section.ts";
import type { Quartiles } from "../statistics.ts";

/** Milliseconds that a message takes in each direction. */
const DELAY = 10;
const ROUND_TRIP = "round trip";
const ACTIONS = ["acquire", "release", "failed try", "getLocks of 10", "hand-over"] as const;
const NAMES = Array.from({ length: 10 }, (_, index) => `far ${index}`);

/** Milliseconds by engine with mode, and by action. */
type Raw = Record<string, Record<string, Quartiles>>;

/** The server's address by way of the proxy. */
function throughProxy(places: Places, engine: Engine, { port }: Proxy): string {
  const url = new URL(places[engine]!);
  url.port = String(port);
  return url.href;
}

async function taken(action: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await action();
  return performance.now() - startedAt;
}

/** Milliseconds from the call of a release until a waiter of another client has the lock. */
async function handOver(backend: Backend, other: Backend): Promise<number> {
  const holder = await getLock("handed", { backend });
  const next = getLock("handed", { backend: other, wait: Infinity });
  await delay(15 * DELAY); // it listens, and is in the queue
  let released;
  const time = await taken(() => {
    released = holder.unlock();
    return next;
  });
  await released;
  await (await next).unlock();
  return time;
}

/** What is measured of a backend; `other` is another client's. */
function turnsOf(backend: Backend, other: Backend): Record<string, () => Promise<number>> {
  const turns: Record<typeof ACTIONS[number], () => Promise<number>> = {
    async acquire() {
      let lock;
      const time = await taken(async () => lock = await getLock("far", { backend }));
      await lock!.unlock();
      return time;
    },
    async release() {
      const lock = await getLock("far", { backend });
      return await taken(() => lock.unlock());
    },
    async "failed try"() {
      await using _ = await getLock("far", { backend: other });
      return await taken(() => tryLock("far", { backend }));
    },
    async "getLocks of 10"() {
      let set;
      const time = await taken(async () => set = await getLocks(NAMES, { backend }));
      await set![Symbol.asyncDispose]();
      return time;
    },
    "hand-over": () => handOver(backend, other),
  };
  return turns;
}

export const distance = subject<Raw>({
  name: "distance",
  async measure({ places }, quick) {
    const raw: Raw = {};
    for (const engine of enginesOf(places)) {
      if (engine === "sqlite") continue;
      await using proxy = await Proxy.start(Number(new URL(places[engine]!).port));
      const far = throughProxy(places, engine, proxy);
      for (const mode of modesOf(engine)) {
        proxy.delay = 0;
        await using floor = await openFloor({ ...places, [engine]: far }, engine);
        await using backend = await connect(far, { mode });
        await using other = await connect(far, { mode });
        proxy.delay = DELAY;
        const turns = { [ROUND_TRIP]: () => taken(async () => await floor.roundTrip()), ...turnsOf(backend, other) };
        raw[`${labels[engine]} ${mode}`] = await inTurns(
          turns,
          quick ? { rounds: 1, warmUp: 1 } : { rounds: 9, warmUp: 2 },
        );
      }
    }
    return raw;
  },
  describe(raw) {
    const tripsOf = (label: string, action: string) => raw[label][action].median / raw[label][ROUND_TRIP].median;
    const ours = Object.keys(raw);
    return {
      title: "A server far away",
      text: [
        `Each message takes ${DELAY} ms longer in each direction; figures are in round trips, each as long as a bare ` +
        "`SELECT 1`. A hand-over lasts from the call of a release until a waiter of another client has the lock; both " +
        "are far away, so that one round trip is the least: half for the release and half for the news of it.",
      ],
      tables: [{
        head: ["round trips", ...ACTIONS, "ms each"],
        rows: ours.map((label) => [
          label,
          ...ACTIONS.map((action) => figure(tripsOf(label, action))),
          figure(raw[label][ROUND_TRIP].median),
        ]),
      }],
      plots: [],
      targets: ours.flatMap((label) => [
        atMost(7, `${label}, far away: acquire, in round trips`, 1.1, tripsOf(label, "acquire")),
        atMost(7, `${label}, far away: release, in round trips`, 1.1, tripsOf(label, "release")),
        ...label.endsWith("session")
          ? []
          : [atMost(7, `${label}, far away: getLocks of 10, in round trips`, 1.1, tripsOf(label, "getLocks of 10"))],
        ...label.startsWith("PostgreSQL")
          ? [atMost(7, `${label}, far away: hand-over, in round trips`, 1.2, tripsOf(label, "hand-over"))]
          : [],
      ]),
    };
  },
});
