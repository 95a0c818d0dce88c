/**
 * A hundred processes that wait, all for one name or each for its own: what they cost the server and themselves.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";
import { getLock, type Mode } from "../../mod.ts";
import type { Used, WaitOrder } from "../measures/waiting.ts";
import { open } from "../contestants.ts";
import { type Engine, enginesOf, labels } from "../places.ts";
import { openProbe } from "../probes.ts";
import { atMost, figure, subject } from "../section.ts";
import { here, startWorker, type Worker } from "../workers.ts";

/** How many processes wait. */
const PROCESSES = 100;
/** How long they are left to themselves before they are watched, and how long they are watched (ms). */
const SETTLING = 3_000;
const WATCHED = 5_000;

/** What all of them cost. */
interface Came {
  /** Statements a second at the server, of all together. */
  readonly statements: number;
  /** The share of a core that one process uses. */
  readonly core: number;
  /** MiB of memory of one process. */
  readonly memory: number;
}

/** By engine with mode; for one name, and for names of their own. */
type Raw = Record<string, { one: Came; own: Came }>;

/** The modes whose waiters are counted: they stand in a queue in the row. */
export const queueingModesOf = (engine: Engine): readonly Mode[] =>
  engine === "postgres" ? ["lease", "hybrid"] : ["lease"];

async function watch(
  workers: readonly Worker[],
  { places, engine, mode }: Omit<WaitOrder, "name">,
  nameOf: (index: number) => string,
  quick: boolean,
): Promise<Came> {
  const all = (name: (index: number) => string | undefined) =>
    Promise.all(workers.map((worker, index) => {
      const order = { places, engine, mode, name: name(index) };
      return worker.do<Used>({ do: "wait", with: order });
    }));
  await using probe = await openProbe(places, engine, places.sqlite ?? "");
  await using backend = await open(places, engine, mode);
  const names = new Set(workers.map((_, index) => nameOf(index)));
  const held = await Promise.all([...names].map((name) => getLock(name, { backend })));
  await all(nameOf);
  await delay(quick ? 100 : SETTLING);
  const before = await all(nameOf);
  const counted = await probe.counts();
  const from = performance.now();
  await delay(quick ? 100 : WATCHED);
  const now = await probe.counts();
  const seconds = (performance.now() - from) / 1e3;
  const after = await all(nameOf);
  await all(() => undefined);
  await Promise.all(held.map((lock) => lock.unlock()));
  const cpu = after.reduce((sum, { cpu }, index) => sum + cpu - before[index].cpu, 0);
  return {
    statements: (now.statements - counted.statements) / seconds,
    core: cpu / seconds / workers.length,
    memory: after.reduce((sum, { memory }) => sum + memory, 0) / workers.length,
  };
}

export const waiting = subject<Raw>({
  name: "waiting processes",
  async measure({ places }, quick) {
    await using stack = new AsyncDisposableStack();
    const workers = Array.from({ length: quick ? 3 : PROCESSES }, () => stack.use(startWorker(here)));
    const raw: Raw = {};
    for (const engine of enginesOf(places)) {
      for (const mode of queueingModesOf(engine)) {
        const order = { places, engine, mode };
        raw[`${labels[engine]} ${mode}`] = {
          one: await watch(workers, order, () => "waited for", quick),
          own: await watch(workers, order, (index) => `waited for by ${index}`, quick),
        };
      }
    }
    return raw;
  },
  describe(raw) {
    const cells = ({ statements, core, memory }: Came) => [
      figure(statements),
      `${figure(core * 100)} %`,
      figure(memory),
    ];
    return {
      title: `${PROCESSES} processes that wait`,
      text: [
        `${PROCESSES} processes wait for one name that another client holds, or each for a name of its own. Statements are ` +
        "those of all together, without the holder's; SQLite has no server that counts them. The share of a core and " +
        "the memory, which is that of the runtime above all, are those of one process.",
      ],
      tables: [{
        head: [
          "",
          ...["one name", "names of their own"].flatMap((what) => [`${what}: statements/s`, "core", "MiB"]),
        ],
        rows: Object.entries(raw).map(([label, { one, own }]) => [label, ...cells(one), ...cells(own)]),
      }],
      plots: [],
      short: {
        question: `statements/s while ${PROCESSES} processes wait`,
        axis: "statements a second at the server; less is better",
        unit: "",
        answers: Object.fromEntries(Object.entries(raw).map(([label, { one }]) => [label, one.statements])),
      },
      targets: Object.entries(raw).flatMap(([label, { one }]) => [
        ...label.startsWith("SQLite") ? [] : [
          atMost(8, `${label}, ${PROCESSES} processes waiting: statements a second`, limitOf(label), one.statements),
        ],
        atMost(8, `${label}, ${PROCESSES} processes waiting: share of a core of each`, 0.01, one.core),
      ]),
    };
  },
});

/** Statements a second at most: PostgreSQL tells the one that is granted, elsewhere waiters look for themselves. */
export function limitOf(label: string): number {
  return label.startsWith("PostgreSQL") ? 10 : 200;
}
