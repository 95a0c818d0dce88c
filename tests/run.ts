/**
 * Runs every test: all of them under Deno, those that need no particular runtime also under Node and Bun, from the
 * source and from the package that npm installs. Ends with one line for programs: `N passed, N failed, N skipped`.
 *
 * `deno task test` runs everything; words choose lines of the table: `deno task test deno`, `deno task test "node 22"`,
 * `deno task test package`.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join, sep } from "node:path";
import process from "node:process";
import { pages } from "./docs/pages.ts";
import { failedAs, NOTHING, type Report, sentence, sum } from "./running/results.ts";
import { runDeno, runExamples, runOn, type RunResult } from "./running/runners.ts";
import { makeStageFor, type Stage } from "./running/stages.ts";
import { programOf, versionOf } from "./runtimes/installing.ts";
import { type Runtime, runtimes } from "./runtimes/runtimes.ts";

/** Folders whose tests run under every runtime, from the source and from the package. */
const NEUTRAL = ["tests/conformance", "tests/core", "tests/drivers", "tests/processes", "tests/sqlite"];
/** What narrows the conformance suite to the engine that needs no server: with all of them it takes minutes. */
const EMBEDDED = { LOCKMGR_TEST_ENGINES: "sqlite" };
/** The folder whose tests run from the package alone. */
const PACKAGED = "tests/package";

/** So many lines of what went wrong are told of each failed test at the end. */
const LINES_TOLD = 20;

/** One line of the table. */
interface Line extends Report {
  readonly runtime: string;
  readonly subject: string;
  readonly seconds: number;
}

const chosen = process.argv.slice(2).map((word) => word.toLowerCase());
const inCI = Boolean(process.env.CI);
const lines: Line[] = [];

function wanted(runtime: string, subject: string): boolean {
  const line = `${runtime} ${subject}`.toLowerCase();
  return chosen.length === 0 || chosen.some((word) => line.includes(word));
}

/** The test files in folders, by their path within the project. */
async function testFiles(...folders: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const folder of folders) {
    for (const path of await readdir(folder, { recursive: true })) {
      if (path.endsWith("_test.ts")) found.push(join(folder, path).replaceAll(sep, "/"));
    }
  }
  return found.sort();
}

/** Runs one line of the table and says what came of it; what a runner printed shows when a test failed. */
async function line(runtime: string, subject: string, work: () => Promise<RunResult>, live = false): Promise<void> {
  console.log(`\n${runtime}, ${subject} …`);
  const startedAt = performance.now();
  let result: RunResult;
  try {
    result = await work();
  } catch (error) {
    const { message } = error as Error;
    result = { ...failedAs("cannot be run", message), output: `${message}\n` };
    live = false;
  }
  const { counts, failures, output } = result;
  if (counts.failed > 0 && !live) console.log(output);
  const seconds = (performance.now() - startedAt) / 1e3;
  console.log(`${runtime}, ${subject}: ${sentence(counts)} (${seconds.toFixed(1)} s)`);
  lines.push({ runtime, subject, counts, failures, seconds });
}

/** A runtime that cannot be had is one test skipped; in CI, where nobody reads that, one failed. */
async function findProgram(runtime: Runtime): Promise<{ program: string; name: string } | undefined> {
  try {
    const program = await programOf(runtime);
    return { program, name: `${runtime.name.split(" ")[0]} ${await versionOf(program)}` };
  } catch (error) {
    const { message } = error as Error;
    console.log(`\n${runtime.name} cannot be had: ${message}`);
    const report = inCI ? failedAs("cannot be had", message) : { counts: { ...NOTHING, skipped: 1 }, failures: [] };
    lines.push({ runtime: runtime.name, subject: "not installed", ...report, seconds: 0 });
    return undefined;
  }
}

async function runElsewhere(): Promise<void> {
  const neutral = await testFiles(...NEUTRAL);
  const packaged = await testFiles(PACKAGED);
  for (const subject of ["source", "package"] as const) {
    const here = runtimes.filter((runtime) => wanted(runtime.name, subject));
    if (here.length === 0) continue;
    let stage: Stage;
    try {
      stage = await makeStageFor(subject);
    } catch (error) {
      await line("Node and Bun", subject, () => Promise.reject(error));
      continue;
    }
    await using _ = stage;
    for (const runtime of here) {
      const found = await findProgram(runtime);
      if (found === undefined) continue;
      const engines = runtime.servers && subject === "source" ? {} : EMBEDDED;
      // What ran over every engine from the source need not run again from the package.
      const files = subject === "source" ? neutral : runtime.servers ? packaged : [...neutral, ...packaged];
      const work = () => runOn(runtime, found.program, stage.directory, files, engines);
      await line(found.name, subject, work);
    }
  }
}

function printTable(): void {
  const width = Math.max(...lines.map(({ runtime }) => runtime.length), 7) + 2;
  const row = (cells: readonly (string | number)[]) =>
    console.log(
      cells.map((cell, index) =>
        index === 0 ? String(cell).padEnd(width) : index === 1 ? String(cell).padEnd(14) : String(cell).padStart(9)
      ).join(""),
    );
  console.log();
  row(["runtime", "what", "passed", "failed", "skipped", "seconds"]);
  for (const { runtime, subject, counts, seconds } of lines) {
    row([runtime, subject, counts.passed, counts.failed, counts.skipped, seconds.toFixed(1)]);
  }
}

/** Again at the end, where a reader of a long log looks, and where a log that was cut still has it. */
function printFailures(): void {
  for (const { runtime, subject, failures } of lines) {
    for (const { name, file, text } of failures) {
      console.log(`\n${runtime}, ${subject}, failed: ${name}${file && ` (${file})`}`);
      for (const told of text.split("\n").slice(0, LINES_TOLD)) console.log(`  ${told}`);
    }
  }
}

const deno = `Deno ${Deno.version.deno}`;

async function runSource(): Promise<void> {
  if (!wanted(deno, "source")) return;
  const files = (await testFiles("tests")).filter((file) => !file.startsWith(`${PACKAGED}/`));
  await line(deno, "source", () => runDeno(files), true);
}

async function runPages(): Promise<void> {
  if (!wanted(deno, "examples")) return;
  const sources = ["mod.ts", "core", "backends", ...["cli.ts", "cli"].filter((path) => existsSync(path))];
  await line(deno, "examples", async () => runExamples([...sources, ...await pages()]));
}

// Side by side, since both wait for events most of the time: a third less than one after the other on two cores.
await Promise.all([runSource(), runPages().then(runElsewhere)]);
printTable();
printFailures();
const total = sum(lines.map(({ counts }) => counts));
const ran = total.passed + total.failed > 0;
console.log(`\n${sentence(total)}`);
process.exit(total.failed > 0 || !ran ? 1 : 0);
