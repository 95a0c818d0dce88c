/**
 * The same measurements under Deno, Node and Bun: one caller, and 256.
 *
 * @module
 */
import { crowd, Field, lone } from "../field.ts";
import { otherRunners } from "../runners.ts";
import { figure, type Section, spread, subject } from "../section.ts";
import { type Quartiles, timeRatio } from "../statistics.ts";
import { here } from "../workers.ts";
import { kindOf } from "./pairs.ts";

/** Microseconds of one caller, and pairs a second of 256, by candidate. */
interface Came {
  readonly pairs: Record<string, Quartiles>;
  readonly callers: Record<string, Quartiles>;
}

/** By runtime. */
type Raw = Record<string, Came>;

function describe(raw: Raw): Section {
  const runtimes = Object.keys(raw);
  const ours = (came: keyof Came) =>
    Object.keys(raw[runtimes[0]][came]).filter((label) => kindOf(label) === "ours" && !label.endsWith("failed try"));
  const against = (runtime: string, label: string) => {
    const { pairs } = raw[runtime];
    return figure(timeRatio(pairs[label], pairs[`${label.split(" ")[0]} durable upsert`]));
  };
  return {
    title: "Deno, Node and Bun",
    text: [
      "The same worker from the same sources on each runtime, one after the other. In brackets: the pair in durable upserts of " +
      "the same run.",
    ],
    tables: [
      {
        head: ["µs, one caller", ...runtimes],
        rows: ours("pairs").map((label) => [
          label,
          ...runtimes.map((runtime) => `${figure(raw[runtime].pairs[label].median)} [${against(runtime, label)}]`),
        ]),
      },
      {
        head: ["pairs a second, 256 callers", ...runtimes],
        rows: ours("callers").map((
          label,
        ) => [label, ...runtimes.map((runtime) => spread(raw[runtime].callers[label]))]),
      },
    ],
    plots: [],
    targets: [],
  };
}

export const runtimes = subject<Raw>({
  name: "runtimes",
  async measure({ places }, quick) {
    const raw: Raw = {};
    await using others = await otherRunners();
    for (const runner of [here, ...others.runners]) {
      await using field = new Field(runner, places);
      const rounds = quick ? { rounds: 3, turn: 1, warmUp: 1 } : { rounds: 30, turn: 5, warmUp: 8 };
      const turns = { warmUp: 1, ...quick ? { rounds: 1, turn: 1 } : { rounds: 3, turn: 300 } };
      raw[runner.name] = {
        pairs: await field.compare(lone(places, false), 1, rounds),
        callers: await field.compare(crowd(places, false, false), 256, turns),
      };
    }
    return raw;
  },
  describe,
});
