/**
 * Four processes that take random overlapping sets of names: nothing may go wrong.
 *
 * @module
 */
import { createConnection } from "mysql2/promise";
import postgres from "postgres";
import { modesOf } from "../contestants.ts";
import type { Raced } from "../measures/race.ts";
import { type Engine, enginesOf, labels, type Places } from "../places.ts";
import { atMost, type Section, subject } from "../section.ts";
import { here, startWorker } from "../workers.ts";

const PROCESSES = 4;

/** What came of one race. */
interface Came {
  readonly sets: number;
  readonly locks: number;
  readonly deadlocks: number;
  readonly lost: number;
  readonly overlaps: number;
  readonly tokens: number;
  readonly errors: readonly string[];
}

/** By engine and mode. */
type Raw = Record<string, Came>;

/** Deadlocks that a server has counted. */
async function deadlocksOf(places: Places, engine: Engine): Promise<number> {
  if (engine === "sqlite") return 0; // one writer at a time
  if (engine === "postgres") {
    const sql = postgres(places.postgres!, { max: 1 });
    const [{ deadlocks }] = await sql`SELECT sum(deadlocks)::int AS deadlocks FROM pg_stat_database`;
    await sql.end();
    return deadlocks;
  }
  const connection = await createConnection(places[engine]!);
  const [rows] = await connection.query(
    "SELECT count AS deadlocks FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'",
  );
  await connection.end();
  return Number((rows as { deadlocks: unknown }[])[0].deadlocks);
}

/** Whether holds of one name overlapped, or a later one had no greater token. */
function judge(holds: Raced["holds"]): { overlaps: number; tokens: number } {
  const sorted = holds.toSorted((a, b) => a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1]);
  let overlaps = 0, tokens = 0;
  for (let index = 1; index < sorted.length; index++) {
    const [before, hold] = [sorted[index - 1], sorted[index]];
    if (before[0] !== hold[0]) continue;
    if (hold[1] < before[2]) overlaps++;
    if (BigInt(hold[3]) <= BigInt(before[3])) tokens++;
  }
  return { overlaps, tokens };
}

export const race = subject<Raw>({
  name: "race",
  async measure({ places }, quick) {
    const raw: Raw = {};
    await using stack = new AsyncDisposableStack();
    const workers = Array.from({ length: PROCESSES }, () => stack.use(startWorker(here)));
    for (const engine of enginesOf(places)) {
      for (const mode of modesOf(engine)) {
        const before = await deadlocksOf(places, engine);
        const order = { places, engine, mode, milliseconds: quick ? 300 : 3000 };
        const raced = await Promise.all(workers.map((worker) => worker.do<Raced>({ do: "race", with: order })));
        const holds = raced.flatMap(({ holds }) => holds);
        raw[`${labels[engine]} ${mode}`] = {
          sets: raced.reduce((sum, { sets }) => sum + sets, 0),
          locks: holds.length,
          deadlocks: await deadlocksOf(places, engine) - before,
          lost: raced.reduce((sum, { lost }) => sum + lost, 0),
          errors: [...new Set(raced.flatMap(({ errors }) => errors))].slice(0, 5),
          ...judge(holds),
        };
      }
    }
    return raw;
  },
  describe: (raw): Section => ({
    title: "A race for random sets of names",
    text: [
      "Four processes with two loops each acquire 5 to 44 of 60 names in random order, a tenth of them new: half of the " +
      "sets all or nothing, the others each name by itself, which the library batches. Deadlocks are the server's own " +
      "count.",
      ...Object.entries(raw).filter(([, { errors }]) => errors.length > 0).map(([label, { errors }]) =>
        `Errors of ${label}: ${errors.join("; ")}.`
      ),
    ],
    tables: [{
      head: ["4 processes", "sets", "locks", "deadlocks", "lost releases", "overlaps", "decreasing tokens", "errors"],
      rows: Object.entries(raw).map(([label, came]) => [
        label,
        ...[came.sets, came.locks, came.deadlocks, came.lost, came.overlaps, came.tokens, came.errors.length]
          .map((count) => count.toLocaleString("en")),
      ]),
    }],
    plots: [],
    targets: Object.entries(raw).map(([label, { deadlocks, lost, overlaps, tokens, errors }]) =>
      atMost(
        6,
        `${label}, deadlocks, lost releases, overlaps, decreasing tokens and errors`,
        0,
        deadlocks + lost + overlaps + tokens + errors.length,
      )
    ),
  }),
});
