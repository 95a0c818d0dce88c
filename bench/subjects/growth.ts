/**
 * Tables of a thousand, a hundred thousand and a million rows, with 100 locks held in each.
 *
 * @module
 */
import { createConnection } from "mysql2/promise";
import postgres from "postgres";
import { openDatabase } from "../../backends/sqlite/connection/driver.ts";
import { type Backend, getLock, listLocks } from "../../mod.ts";
import { open } from "../contestants.ts";
import { type Engine, engines, enginesOf, labels, type Places } from "../places.ts";
import { type Candidate, timeEach } from "../rounds.ts";
import { atMost, figure, type Section, spread, subject } from "../section.ts";
import { type Quartiles, timeRatio } from "../statistics.ts";

/** So many locks are held while the list is read. */
const HELD = 100;
/** So many names, evenly spread over the table, are taken and given back in turn. */
const USED = 100;

/** Microseconds of a pair and of a list, by number of rows. */
type Raw = Partial<Record<Engine, Record<string, { pair: Quartiles; list: Quartiles }>>>;

const nameOf = (row: number) => `row ${String(row).padStart(7, "0")}`;

/** Fills a table with free rows as they are left by a release. */
async function fill(places: Places, engine: Engine, table: string, rows: number): Promise<void> {
  if (engine === "postgres") {
    const sql = postgres(places.postgres!, { max: 1, onnotice: () => {} });
    await sql.unsafe(`INSERT INTO ${table} (name, token, locked_by, locked_until, created_at, updated_at, listed)
      SELECT 'row ' || lpad(n::text, 7, '0'), 1, 'bench', now(), now(), now(), false
      FROM generate_series(0, ${rows - 1}) AS n`);
    await sql.unsafe(`VACUUM ANALYZE ${table}`);
    await sql.end();
  } else if (engine === "sqlite") {
    const database = await openDatabase(places.sqlite!, "node:sqlite");
    database.exec(`WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${rows - 1})
      INSERT INTO ${table} (name, token, locked_by, locked_until, created_at, updated_at)
      SELECT printf('row %07d', n), 1, 'bench', 0, 0, 0 FROM numbers`);
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    database.close();
  } else {
    const connection = await createConnection(places[engine]!);
    await connection.query("SET sql_log_bin = 0");
    const depth = engine === "mysql" ? "cte_max_recursion_depth" : "max_recursive_iterations";
    await connection.query(`SET ${depth} = ${rows + 1}`);
    await connection.query(`
      INSERT INTO ${table} (name, owner, token, locked_by, locked_until, created_at, updated_at, listed)
      WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < ${rows - 1})
      SELECT CONCAT('row ', LPAD(n, 7, '0')), UUID(), 1, 'bench', 0, 0, 0, 0 FROM numbers`);
    await connection.query(`ANALYZE TABLE ${table}`);
    await connection.end();
  }
}

async function prepare(places: Places, engine: Engine, rows: number): Promise<Backend> {
  const table = `rows_${rows}`;
  const backend = await open(places, engine, "lease", table);
  await (await getLock("first", { backend })).unlock(); // makes the table
  await fill(places, engine, table, rows);
  const held = Array.from({ length: HELD }, (_, index) => `held ${String(index).padStart(3, "0")}`);
  await Promise.all(held.map((name) => getLock(name, { backend, expires: 0 })));
  return backend;
}

function pairOf(backend: Backend, rows: number): Candidate {
  let turn = 0;
  return async () => {
    const name = nameOf(Math.floor(turn++ % USED * rows / USED));
    await (await getLock(name, { backend })).unlock();
  };
}

async function measureEngine(places: Places, engine: Engine, quick: boolean) {
  const sizes = quick ? [100, 1000] : [1e3, 1e5, 1e6];
  await using stack = new AsyncDisposableStack();
  const pairs: Record<string, Candidate> = {}, lists: Record<string, Candidate> = {};
  for (const rows of sizes) {
    const backend = stack.use(await prepare(places, engine, rows));
    pairs[rows] = pairOf(backend, rows);
    lists[rows] = async () => {
      const { length } = await listLocks({ backend });
      if (length !== HELD) throw new Error(`The list has ${length} locks`);
    };
  }
  const pair = await timeEach(pairs, quick ? { rounds: 3, turn: 1, warmUp: 1 } : { rounds: 60, turn: 12, warmUp: 25 });
  const list = await timeEach(lists, quick ? { rounds: 3, turn: 1, warmUp: 1 } : { rounds: 15, turn: 8, warmUp: 3 });
  return Object.fromEntries(sizes.map((rows) => [rows, { pair: pair[rows], list: list[rows] }]));
}

function describe(raw: Raw): Section {
  const there = engines.filter((engine) => raw[engine] !== undefined);
  const sizes = Object.keys(raw[there[0]]!);
  const rows = there.flatMap((engine) =>
    (["pair", "list"] as const).map((what) => [
      `${labels[engine]}: ${what === "pair" ? "acquire and release" : `list of ${HELD} held`}`,
      ...sizes.map((size) => spread(raw[engine]![size][what])),
    ])
  );
  const targets = there.flatMap((engine) => {
    const [least, most] = [raw[engine]![sizes[0]], raw[engine]![sizes.at(-1)!]];
    const grown = `${labels[engine]}, ${Number(sizes.at(-1)).toLocaleString("en")} rows against ${sizes[0]}`;
    return [
      atMost(4, `${grown}: pair`, engine === "sqlite" ? 1.5 : 1.2, timeRatio(most.pair, least.pair)),
      atMost(4, `${grown}: list of ${HELD} held`, 1.5, timeRatio(most.list, least.list)),
    ];
  });
  return {
    title: "Many rows",
    text: [
      `Released names keep their rows, which remember the tokens. ${USED} names, evenly spread over the table, are ` +
      `acquired and released in turn, while ${HELD} other locks are held.`,
    ],
    tables: [{
      head: ["µs, Deno", ...sizes.map((size) => `${Number(size).toLocaleString("en")} rows`)],
      rows,
    }],
    plots: [{
      name: "rows",
      title: "Acquire and release in a table of many rows",
      axis: "µs, less is better",
      bars: there.flatMap((engine) =>
        sizes.map((size) => ({
          label: `${labels[engine]}, ${figure(Number(size))}`,
          kind: "ours" as const,
          ...raw[engine]![size].pair,
        }))
      ),
    }],
    targets,
  };
}

export const growth = subject<Raw>({
  name: "rows",
  async measure({ places }, quick) {
    const raw: Raw = {};
    for (const engine of enginesOf(places)) raw[engine] = await measureEngine(places, engine, quick);
    return raw;
  },
  describe,
});
