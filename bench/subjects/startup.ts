/**
 * What importing the library costs: the start of a program that imports it against that of an empty one, in turns.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { makeStageFor } from "../../tests/running/stages.ts";
import { command } from "../../tests/runtimes/command.ts";
import { inTurns } from "../rounds.ts";
import { byRunner, otherRunners } from "../runners.ts";
import { figure, spread, subject } from "../section.ts";
import type { Quartiles } from "../statistics.ts";
import { here, type Runner } from "../workers.ts";

/** Milliseconds by runtime and program. */
type Raw = Record<string, Record<string, Quartiles>>;

const EMPTY = "empty";
const IMPORTING = "imports the library";
const LOCKING = "takes one lock in an SQLite file";

/** The programs, given the library's address. */
const programs: Readonly<Record<string, (library: string, file: string) => string>> = {
  [EMPTY]: () => "export {};\n",
  [IMPORTING]: (library) => `import ${library};\n`,
  [LOCKING]: (library, file) =>
    `import { connect, getLock } from ${library};
    const backend = await connect(${file});
    await (await getLock("jobs", { backend })).unlock();
    await backend[Symbol.asyncDispose]();\n`,
};

async function turnsOf(directory: string, { name, command: [program, ...first] }: Runner, entry: string) {
  const turns: Record<string, () => Promise<number>> = {};
  const own = join(directory, `start ${name}`);
  await mkdir(own);
  await writeFile(join(own, "package.json"), '{ "type": "module" }'); // else Node reads each file twice
  for (const [what, write] of Object.entries(programs)) {
    const file = join(own, `${what}.ts`);
    const library = JSON.stringify(pathToFileURL(entry).href);
    await writeFile(file, write(library, JSON.stringify(join(own, "locks.db"))));
    const flags = name === "Deno" ? [...first, "--no-lock", "--no-config"] : first;
    turns[`${name}/${what}`] = async () => {
      const startedAt = performance.now();
      const { code, output } = await command(program, [...flags, file]);
      if (code !== 0) throw new Error(`Cannot run a program that ${what} under ${name}: ${output}`);
      return performance.now() - startedAt;
    };
  }
  return turns;
}

export const startup = subject<Raw>({
  name: "start-up",
  async measure({ places }, quick) {
    await using others = await otherRunners();
    const turns: Record<string, () => Promise<number>> = {};
    await using stage = await makeStageFor("package");
    const installed = join(stage.directory, "node_modules", "@lockmgr", "lockmgr", "mod.js");
    for (const runner of [here, ...others.runners]) {
      const entry = runner === here ? join(here.root, "mod.ts") : installed;
      Object.assign(turns, await turnsOf(places.directory, runner, entry));
    }
    const taken = await inTurns(turns, quick ? { rounds: 1, warmUp: 1 } : { rounds: 25, warmUp: 3 });
    return byRunner(taken);
  },
  describe: (raw) => ({
    title: "Start-up",
    text: [
      "A whole program from start to end: on Deno with the TypeScript sources, elsewhere with the package that npm " +
      "installs. Drivers are loaded when first used.",
    ],
    tables: [{
      head: ["ms", ...Object.keys(programs), "importing against empty"],
      rows: Object.entries(raw).map(([runtime, figures]) => [
        runtime,
        ...Object.keys(programs).map((what) => spread(figures[what])),
        figure(figures[IMPORTING].median / figures[EMPTY].median),
      ]),
    }],
    plots: [],
    targets: [],
  }),
});
