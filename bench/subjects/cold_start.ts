/**
 * The cold start of an edge function that takes one lock on PostgreSQL: a whole program from start to end, as it is
 * deployed from the sources, with the package, and bundled into one file.
 *
 * @module
 */
import { build, stop } from "esbuild";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { getLock } from "../../mod.ts";
import { makeStageFor } from "../../tests/running/stages.ts";
import { command } from "../../tests/runtimes/command.ts";
import { open } from "../contestants.ts";
import { inTurns } from "../rounds.ts";
import { byRunner, otherRunners } from "../runners.ts";
import { figure, spread, subject } from "../section.ts";
import type { Quartiles } from "../statistics.ts";
import { here, type Runner } from "../workers.ts";

/** Milliseconds by runtime and program. */
type Raw = Record<string, Record<string, Quartiles>>;

const DRIVER = "driver alone";
const DRIVER_BUNDLED = "driver alone, bundled";
/** Each deployment of the function, and the program that it is compared with. */
const FUNCTIONS = {
  "from the sources": DRIVER,
  "with the package": DRIVER,
  "bundled": DRIVER_BUNDLED,
} as const;
const PROGRAMS = [DRIVER, DRIVER_BUNDLED, ...Object.keys(FUNCTIONS)];
/** Drivers that the function never loads. */
const EXTERNAL = ["mysql2", "mysql2/*", "pg", "node:*", "bun:*"];

/** As many round trips as the lock takes. */
const driverAlone = (url: string) =>
  `import postgres from "postgres";
const sql = postgres(${url}, { max: 1 });
await sql\`SELECT 1\`;
await sql\`SELECT 1\`;
await sql.end();
`;

/** Imports, connects, takes a lock, releases it, and disposes of the backend; the table is there, as it is in production. */
const takeOneLock = (library: string, engine: string, url: string) =>
  `import { getLock } from ${library};
import { postgresBackend } from ${engine};
const backend = await postgresBackend(${url}, { maxConnections: 1, migrate: false });
await (await getLock("cold", { backend })).unlock();
await backend[Symbol.asyncDispose]();
`;

const quoted = (text: string) => JSON.stringify(text);

/** Writes the programs that every runtime runs, where the package and its drivers are installed. */
async function writeShared(directory: string, url: string): Promise<Record<string, string>> {
  const files = { [DRIVER]: driverAlone(quoted(url)), "with the package": packaged(url) };
  const paths: Record<string, string> = {};
  const bundled: Record<string, string> = { [DRIVER]: DRIVER_BUNDLED, "with the package": "bundled" };
  try {
    for (const [name, text] of Object.entries(files)) {
      const path = paths[name] = join(directory, `${name.replaceAll(" ", "_")}.mjs`);
      await writeFile(path, text);
      const outfile = paths[bundled[name]] = path.replace(".mjs", ".bundle.mjs");
      const how = { bundle: true, minify: true, platform: "node", format: "esm", target: "es2024" } as const;
      await build({ entryPoints: [path], outfile, external: EXTERNAL, logLevel: "error", ...how });
    }
  } finally {
    await stop();
  }
  return paths;
}

function packaged(url: string): string {
  return takeOneLock(quoted("@lockmgr/lockmgr"), quoted("@lockmgr/lockmgr/postgres"), quoted(url));
}

/** Writes the function that imports the sources of one runtime. */
async function writeFromSources(directory: string, { name, root }: Runner, url: string): Promise<string> {
  const [library, engine] = ["mod.ts", "backends/postgres/mod.ts"].map((file) =>
    quoted(pathToFileURL(join(root, file)).href)
  );
  const path = join(directory, `sources ${name}.mjs`);
  await writeFile(path, takeOneLock(library, engine, quoted(url)));
  return path;
}

/** How Deno finds the drivers: the sources by the project's own map, all else in the folder of packages. */
function flagsOf(what: string, root: string): string[] {
  if (what !== "from the sources") return ["--no-config", "--node-modules-dir=manual"];
  return [`--config=${join(root, "deno.json")}`, "--node-modules-dir=none"];
}

function turnOf(
  { name, command: [program, ...first], root }: Runner,
  what: string,
  file: string,
): () => Promise<number> {
  const flags = name === "Deno" ? [...first, ...flagsOf(what, root)] : first;
  return async () => {
    const startedAt = performance.now();
    const { code, output } = await command(program, [...flags, file]);
    if (code !== 0) throw new Error(`Cannot run the function ${what} under ${name}: ${output}`);
    return performance.now() - startedAt;
  };
}

export const coldStart = subject<Raw>({
  name: "cold start",
  async measure({ places }, quick) {
    if (places.postgres === undefined) return {};
    await using others = await otherRunners();
    await using stage = await makeStageFor("package");
    const directory = join(stage.directory, "cold");
    await mkdir(directory);
    await using backend = await open(places, "postgres", "lease");
    await (await getLock("cold", { backend })).unlock(); // makes the table
    const shared = await writeShared(directory, places.postgres);
    const turns: Record<string, () => Promise<number>> = {};
    for (const runner of [here, ...others.runners]) {
      const files = { ...shared, "from the sources": await writeFromSources(directory, runner, places.postgres) };
      for (const what of PROGRAMS) {
        turns[`${runner.name}/${what}`] = turnOf(runner, what, files[what as keyof typeof files]);
      }
    }
    const taken = await inTurns(turns, quick ? { rounds: 1, warmUp: 1 } : { rounds: 15, warmUp: 2 });
    return byRunner(taken);
  },
  describe: (raw) => ({
    title: "Cold start of an edge function",
    text: [
      "A program that imports the library and `postgres`, connects to PostgreSQL, takes one lock, releases it, and closes " +
      "its connection, from the start of the process to its end, against one that does the same round trips with the " +
      "driver alone. From the sources the runtime reads each module; npm's package has them joined; the bundle is one " +
      "minified file by esbuild, with the driver in it.",
    ],
    tables: Object.keys(raw).length === 0 ? [] : [{
      head: ["ms", ...PROGRAMS, ...Object.keys(FUNCTIONS).map((what) => `${what}: ms more than the driver`)],
      rows: Object.entries(raw).map(([runtime, figures]) => [
        runtime,
        ...PROGRAMS.map((what) => spread(figures[what])),
        ...Object.entries(FUNCTIONS).map(([what, driver]) => figure(figures[what].median - figures[driver].median)),
      ]),
    }],
    plots: [],
    targets: [],
  }),
});
