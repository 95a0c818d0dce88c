/**
 * Ten thousand waiters on one name in one process: what they cost while they wait, and how soon all have been served.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { getLock, type Mode } from "../../mod.ts";
import { open } from "../contestants.ts";
import type { ManyOrder } from "../measures/many_waiters.ts";
import type { Used } from "../measures/waiting.ts";
import { type Engine, enginesOf, labels, type Places } from "../places.ts";
import { openProbe } from "../probes.ts";
import { atMost, figure, subject } from "../section.ts";
import { here, startWorker } from "../workers.ts";
import { limitOf, queueingModesOf } from "./waiting.ts";

/** How many wait, how long they are left to themselves, and how long they are watched (ms). */
const WAITERS = 10_000;
const SETTLING = 1_000;
const WATCHED = 3_000;

/** What came of one mode. */
interface Came {
  readonly waiters: number;
  /** MiB of the process before the waiters came, and with them. */
  readonly before: number;
  readonly memory: number;
  /** Statements a second, and the share of a core, while all wait. */
  readonly statements: number;
  readonly core: number;
  /** Milliseconds from the holder's release until all have held the name and released it. */
  readonly served: number;
}

/** By engine with mode. */
type Raw = Record<string, Came>;

async function measureMode(places: Places, engine: Engine, mode: Mode, quick: boolean): Promise<Came> {
  const [waiters, settling, watched] = quick ? [100, 100, 200] : [WAITERS, SETTLING, WATCHED];
  await using worker = startWorker(here);
  const step = (step: ManyOrder["step"]) =>
    worker.do<Used>({ do: "many", with: { step, places, engine, mode, name: "wanted by many", waiters } });
  await using probe = await openProbe(places, engine, places.sqlite ?? "");
  await using backend = await open(places, engine, mode);
  const holder = await getLock("wanted by many", { backend });
  const before = await step("open");
  await step("join");
  await delay(settling);
  const [first, counted, from] = [await step("look"), await probe.counts(), performance.now()];
  await delay(watched);
  const [now, last, seconds] = [await probe.counts(), await step("look"), (performance.now() - from) / 1e3];
  const startedAt = performance.now();
  await holder.unlock();
  await step("serve");
  return {
    waiters,
    before: before.memory,
    memory: last.memory,
    statements: (now.statements - counted.statements) / seconds,
    core: (last.cpu - first.cpu) / seconds,
    served: performance.now() - startedAt,
  };
}

export const manyWaiters = subject<Raw>({
  name: "many waiters",
  async measure({ places }, quick) {
    const raw: Raw = {};
    for (const engine of enginesOf(places)) {
      for (const mode of queueingModesOf(engine)) {
        raw[`${labels[engine]} ${mode}`] = await measureMode(places, engine, mode, quick);
      }
    }
    return raw;
  },
  describe: (raw) => ({
    title: "Ten thousand waiters in one process",
    text: [
      `${
        WAITERS.toLocaleString("en")
      } callers of one process wait for a name that another client holds. Only the first ` +
      "of them stands in the database's queue; the others stand behind it in the process. Then the holder releases the " +
      "name, and each of them holds it in its turn and releases it at once. Nothing is held twice, so that a turn is an " +
      "acquire and a release, one after the other.",
    ],
    tables: [{
      head: [
        "one process, Deno",
        "MiB without waiters",
        "MiB with them",
        "KiB each",
        "statements/s",
        "core",
        "s until all are served",
        "ms each",
      ],
      rows: Object.entries(raw).map(([label, { waiters, before, memory, statements, core, served }]) => [
        label,
        figure(before),
        figure(memory),
        figure((memory - before) * 1024 / waiters),
        figure(statements),
        `${figure(core * 100)} %`,
        figure(served / 1e3),
        figure(served / waiters),
      ]),
    }],
    plots: [],
    targets: Object.entries(raw).filter(([label]) => !label.startsWith("SQLite")).map(([label, { statements }]) =>
      atMost(8, `${label}, many waiters in one process: statements a second`, limitOf(label), statements)
    ),
  }),
});
