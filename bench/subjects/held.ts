/**
 * What a session lock costs while many others are held through the same backend.
 *
 * @module
 */
import { type Backend, getLock } from "../../mod.ts";
import { open } from "../contestants.ts";
import { type Engine, enginesOf, labels } from "../places.ts";
import { type Candidate, timeEach } from "../rounds.ts";
import { spread, subject } from "../section.ts";
import type { Quartiles } from "../statistics.ts";

/** Microseconds of a pair, by engine and number of locks held. */
type Raw = Partial<Record<Engine, Record<string, Quartiles>>>;

/** So many locks at most are held through one backend here; PostgreSQL's take no more than 4,000. */
const MOST = 3_500;
/** So many are asked for at once. */
const TOGETHER = 500;

/** Holds locks through as many backends as it takes; answers a pair through the first of them. */
async function holdMany(count: number, openOne: () => Promise<Backend>): Promise<Candidate> {
  const first = await openOne();
  let backend = first;
  for (let from = 0; from < count; from += TOGETHER) {
    if (from > 0 && from % MOST === 0) backend = await openOne();
    const some = Math.min(TOGETHER, count - from);
    const names = Array.from({ length: some }, (_, index) => `held ${count} ${from + index}`);
    await Promise.all(names.map((name) => getLock(name, { backend })));
  }
  return async () => {
    await (await getLock(`beside ${count}`, { backend: first })).unlock();
  };
}

export const held = subject<Raw>({
  name: "held session locks",
  async measure({ places }, quick) {
    const raw: Raw = {};
    for (const engine of enginesOf(places)) {
      if (engine === "sqlite") continue;
      await using stack = new AsyncDisposableStack();
      const candidates: Record<string, Candidate> = {};
      for (const count of quick ? [0, 10] : [0, 100, 1_000, 10_000]) {
        candidates[count] = await holdMany(count, async () => stack.use(await open(places, engine, "session")));
      }
      const rounds = quick ? { rounds: 3, turn: 1, warmUp: 1 } : { rounds: 60, turn: 5, warmUp: 10 };
      raw[engine] = await timeEach(candidates, rounds);
    }
    return raw;
  },
  describe(raw) {
    const counts = Object.keys(Object.values(raw)[0] ?? {});
    return {
      title: "Many session locks held",
      text: [
        "Acquire and release of one more session lock while the process holds this many. Three backends share the 10,000, " +
        "up to 3,500 each, since a PostgreSQL backend refuses more than 4,000; a full one is measured.",
      ],
      tables: counts.length === 0 ? [] : [{
        head: ["µs, Deno", ...counts.map((count) => `${Number(count).toLocaleString("en")} held`)],
        rows: Object.entries(raw).map(([engine, figures]) => [
          `${labels[engine as Engine]} session`,
          ...counts.map((count) => spread(figures[count])),
        ]),
      }],
      plots: [],
      targets: [],
    };
  },
});
