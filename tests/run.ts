/**
 * Runs every test: from the source under Deno, from the package that npm installs under Node and Bun. Ends with one
 * line for programs: `N passed, N failed, N skipped`.
 *
 * `deno task test` runs everything; words choose lines of the table: `deno task test deno`, `deno task test "node 22"`,
 * `deno task test examples`.
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

/** Folders whose tests run under every runtime. */
const NEUTRAL = ["conformance", "core", "drivers", "processes", "sqlite", "web_locks"].map((name) => `tests/${name}`);
/** Narrows the conformance suite to the engine that needs no server: with all of them it takes minutes. */
const EMBEDDED = { LOCKMGR_TEST_ENGINES: "sqlite" };
/** The folders whose tests run from the package alone, the second on one runtime. */
const PACKAGED = ["tests/package", "tests/consumers"];
/**
 * Files that run from the package too where servers do: a server's own locks and queue, on the runtime's sockets and
 * timers, and the ORMs.
 */
const WITH_SERVERS = [
  "tests/orms/orms_test.ts",
  "tests/faults/verbs_test.ts",
  "tests/postgres/advisory_test.ts",
  "tests/postgres/advisory_waiting_test.ts",
  "tests/postgres/heartbeat_test.ts",
  "tests/mysql/user_lock_test.ts",
  "tests/mysql/table_lock_test.ts",
];
/** All folders that no other part of the tests names. */
const OTHER: readonly string[] = [];
/** The engine that takes the conformance suite half of the time on Deno, and the others. */
const MYSQL = "mysql";
const OTHER_ENGINES = (await readdir("backends"))
  .filter((name) => name !== MYSQL && existsSync(join("backends", name, "mod.ts"))).sort().join();
/** The processes in which Deno tests folders, with the engines of the conformance suite; the longest first. */
const PARTS: readonly (readonly [folders: readonly string[], engines?: string])[] = [
  [["tests/mysql"]],
  [OTHER],
  [["tests/conformance"], MYSQL],
  [["tests/postgres", "tests/faults"]],
  [["tests/conformance"], OTHER_ENGINES],
  [["tests/etcd"]],
];

/** Jobs that run at the same time, since tests wait for events: five left two cores idle 18 % of the time. */
const AT_A_TIME = 6;
/** Lines of output that are printed of each failed test at the end. */
const LINES_OF_FAILURE = 20;
/** Tests whose duration is printed at the end. */
const SLOWEST = 12;

/** One line of the table. */
interface Line extends Report {
  readonly runtime: string;
  readonly subject: string;
  readonly seconds: number;
}

/** One runner to start. */
interface Job {
  readonly runtime: string;
  readonly subject: string;
  work(): Promise<RunResult>;
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

function isIn(folders: readonly string[], file: string): boolean {
  return folders.some((folder) => file.startsWith(`${folder}/`));
}

/** Runs one line of the table and prints its counts; what the runner printed is shown when a test failed. */
async function run({ runtime, subject, work }: Job): Promise<void> {
  console.log(`${runtime}, ${subject} …`);
  const startedAt = performance.now();
  let result: RunResult;
  try {
    result = await work();
  } catch (error) {
    const { message } = error as Error;
    result = { ...failedAs("cannot be run", message), output: `${message}\n` };
  }
  const { output, ...report } = result;
  if (report.counts.failed > 0) console.log(output);
  const seconds = (performance.now() - startedAt) / 1e3;
  console.log(`${runtime}, ${subject}: ${sentence(report.counts)} (${seconds.toFixed(1)} s)`);
  lines.push({ runtime, subject, ...report, seconds });
}

/** Runs jobs, the longest first: on Deno while the package is installed, then those of the package. */
async function runAll(onDeno: Job[], packaged: Promise<Job[]>): Promise<void> {
  const longest = onDeno.splice(0, AT_A_TIME - 1);
  const next = async () => longest.shift() ?? (await packaged).shift() ?? onDeno.shift();
  const runner = async () => {
    for (let job = await next(); job !== undefined; job = await next()) await run(job);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, runner));
}

/** A runtime that cannot be installed is one test skipped; in CI, where a skip is not read, one failed. */
async function findProgram(runtime: Runtime): Promise<{ program: string; name: string } | undefined> {
  try {
    const program = await programOf(runtime);
    return { program, name: `${runtime.name.split(" ")[0]} ${await versionOf(program)}` };
  } catch (error) {
    const { message } = error as Error;
    console.log(`${runtime.name} cannot be installed: ${message}`);
    const report = inCI
      ? failedAs("cannot be installed", message)
      : { counts: { ...NOTHING, skipped: 1 }, failures: [], durations: [] };
    lines.push({ runtime: runtime.name, subject: "not installed", ...report, seconds: 0 });
    return undefined;
  }
}

const deno = `Deno ${Deno.version.deno}`;

/** The tests from the source, and the examples. */
async function sourceJobs(): Promise<Job[]> {
  const all = (await testFiles("tests")).filter((file) => !isIn(PACKAGED, file));
  const named = PARTS.flatMap(([folders]) => folders);
  const jobs = PARTS.map(([folders, engines]): Job => ({
    runtime: deno,
    subject: `source, ${folders === OTHER ? "all other tests" : folders.join(", ")}${engines ? `, ${engines}` : ""}`,
    work: () => {
      const files = all.filter((file) => folders === OTHER ? !isIn(named, file) : isIn(folders, file));
      return runDeno(files, engines ? { LOCKMGR_TEST_ENGINES: engines } : {});
    },
  }));
  const conformance = ["mod", "suite", "faulty_backend"].map((module) => `tests/conformance/${module}.ts`);
  const sources = ["mod.ts", "core", "backends", "cli.ts", "cli", "web_locks.ts", "web_locks", ...conformance];
  jobs.push({ runtime: deno, subject: "examples", work: async () => runExamples([...sources, ...await pages()]) });
  return jobs.filter(({ runtime, subject }) => wanted(runtime, subject));
}

/** The tests of the package: what waits for npm first, then the runtimes that need servers, since they take longest. */
async function packageJobs(install: () => Promise<Stage>): Promise<Job[]> {
  const [forPackage, forConsumers] = PACKAGED;
  const suites = [
    ...runtimes.filter(({ kind, servers }) => kind === "node" && servers)
      .map((runtime) => ({ runtime, subject: "consumers", folders: [forConsumers] })),
    ...runtimes.toSorted((one, other) => Number(other.servers) - Number(one.servers))
      .map((runtime) => ({ runtime, subject: "package", folders: [...NEUTRAL, forPackage] })),
  ].filter(({ runtime, subject }) => wanted(runtime.name, subject));
  if (suites.length === 0) return [];
  let directory: string;
  try {
    directory = (await install()).directory;
  } catch (error) {
    return [{ runtime: "Node and Bun", subject: "package", work: () => Promise.reject(error) }];
  }
  const jobs: Job[] = [];
  for (const { runtime, subject, folders } of suites) {
    const found = await findProgram(runtime);
    if (found === undefined) continue;
    const files = await testFiles(...folders);
    if (runtime.servers && subject === "package") files.push(...WITH_SERVERS);
    const work = () => runOn(runtime, found.program, directory, files, runtime.servers ? {} : EMBEDDED);
    jobs.push({ runtime: found.name, subject, work });
  }
  return jobs;
}

function printTable(): void {
  const widths = [0, 1].map((column) => {
    const cells = lines.map(({ runtime, subject }) => [runtime, subject][column].length);
    return Math.max(...cells, "runtime".length) + 2;
  });
  const row = (cells: readonly (string | number)[]) =>
    console.log(
      cells.map((cell, index) => index < 2 ? String(cell).padEnd(widths[index]) : String(cell).padStart(9)).join(""),
    );
  console.log();
  row(["runtime", "what", "passed", "failed", "skipped", "seconds"]);
  for (const { runtime, subject, counts, seconds } of lines) {
    row([runtime, subject, counts.passed, counts.failed, counts.skipped, seconds.toFixed(1)]);
  }
}

function printSlowest(): void {
  const durations = lines.flatMap(({ runtime, durations }) => durations.map((each) => ({ runtime, ...each })));
  durations.sort((one, other) => other.seconds - one.seconds);
  console.log();
  for (const { runtime, name, seconds } of durations.slice(0, SLOWEST)) {
    console.log(`${seconds.toFixed(1).padStart(6)} s  ${runtime}: ${name}`);
  }
}

/** Repeated at the end, where a reader of a long log looks first. */
function printFailures(): void {
  for (const { runtime, subject, failures } of lines) {
    for (const { name, file, text } of failures) {
      console.log(`\n${runtime}, ${subject}, failed: ${name}${file && ` (${file})`}`);
      for (const told of text.split("\n").slice(0, LINES_OF_FAILURE)) console.log(`  ${told}`);
    }
  }
}

{
  await using cleanUp = new AsyncDisposableStack();
  await runAll(await sourceJobs(), packageJobs(async () => cleanUp.use(await makeStageFor("package"))));
}
printTable();
printSlowest();
printFailures();
const total = sum(lines.map(({ counts }) => counts));
const ran = total.passed + total.failed > 0;
console.log(`\n${sentence(total)}`);
process.exit(total.failed > 0 || !ran ? 1 : 0);
