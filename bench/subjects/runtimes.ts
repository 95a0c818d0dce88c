/**
 * The same measurements under Deno, Node and Bun: one caller, and 256.
 *
 * @module
 */
import { crowd, Field, lone, webLocks } from "../field.ts";
import { hasWebLocks, WEB_LOCKS } from "../floors.ts";
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
  const shown = (came: keyof Came) =>
    Object.keys(raw[runtimes[0]][came]).filter((label) =>
      label === WEB_LOCKS || (kindOf(label) === "ours" && !label.endsWith("failed try"))
    );
  const time = (runtime: string, label: string) => {
    const { pairs } = raw[runtime];
    const [own, upsert] = [pairs[label], pairs[`${label.split(" ")[0]} durable upsert`]];
    if (own === undefined) return "–";
    return figure(own.median) + (upsert ? ` [${figure(timeRatio(own, upsert))}]` : "");
  };
  const speed = (quartiles: Quartiles | undefined) => quartiles ? spread(quartiles) : "–";
  return {
    title: "Deno, Node and Bun",
    text: [
      "The same worker from the same sources on each runtime, one after the other. In brackets: the pair in durable upserts of " +
      "the same run. `navigator.locks` are the runtime's own, within one process; Bun has none.",
    ],
    tables: [
      {
        head: ["µs, one caller", ...runtimes],
        rows: shown("pairs").map((label) => [label, ...runtimes.map((runtime) => time(runtime, label))]),
      },
      {
        head: ["pairs a second, 256 callers", ...runtimes],
        rows: shown("callers").map((label) => [
          label,
          ...runtimes.map((runtime) => speed(raw[runtime].callers[label])),
        ]),
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
      const own = hasWebLocks(runner.name) ? webLocks : [];
      raw[runner.name] = {
        pairs: await field.compare(lone(places, false).concat(own), 1, rounds),
        callers: await field.compare(crowd(places, false, false).concat(own), 256, turns),
      };
    }
    return raw;
  },
  describe,
});
