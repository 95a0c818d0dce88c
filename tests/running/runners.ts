/**
 * The test runners of the runtimes, each asked for a JUnit report.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { command, type CommandOptions } from "../runtimes/command.ts";
import type { Runtime } from "../runtimes/runtimes.ts";
import { readRun, type Report } from "./results.ts";

/** One test may take so long (ms), on Node 22 one file: far more than any needs, so that a hang has a name. */
const TEST_TIMEOUT = 300_000;

/** One runner may take so long (ms): four times what it takes on two idle cores, since a busy machine is no defect. */
const RUN_TIMEOUT = 3_000_000;

/** What came of one runner. */
export interface RunResult extends Report {
  /** What the runner printed. */
  readonly output: string;
}

async function run(
  program: string,
  parameters: (report: string) => readonly string[],
  options: CommandOptions = {},
): Promise<RunResult> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-report-"));
  try {
    const path = join(directory, "report.xml");
    const { code, output } = await command(program, parameters(path), { timeout: RUN_TIMEOUT, ...options });
    const report = existsSync(path) ? await readFile(path, "utf8") : undefined;
    return { ...readRun(report, code), output };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Runs test files under Deno, which watches for timers, sockets and files that a test leaves behind; where one came from
 * is shown by `--trace-leaks`, which costs a sixth of the processor. Types are checked before, with the style.
 */
export function runDeno(files: readonly string[], env: Readonly<Record<string, string>>): Promise<RunResult> {
  const strict = ["--sanitize-ops", "--sanitize-resources"];
  const parameters = ["test", "-A", "--no-check", ...strict];
  return run(process.execPath, (report) => [...parameters, `--junit-path=${report}`, ...files], { env });
}

/** Runs the examples in doc comments and Markdown files under Deno; each is a module and type-checked as one. */
export function runExamples(files: readonly string[]): Promise<RunResult> {
  return run(process.execPath, (report) => ["test", "-A", "--doc", `--junit-path=${report}`, ...files]);
}

const parametersOf: Record<Runtime["kind"], (files: readonly string[], report: string) => readonly string[]> = {
  node: (files, report) => [
    "--no-warnings",
    "--enable-source-maps",
    "--test",
    "--test-concurrency=1",
    `--test-timeout=${TEST_TIMEOUT}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=junit",
    `--test-reporter-destination=${report}`,
    ...files,
  ],
  bun: (files, report) => [
    "test",
    `--timeout=${TEST_TIMEOUT}`,
    "--reporter=junit",
    `--reporter-outfile=${report}`,
    ...files.map((file) => `./${file}`),
  ],
};

/** Runs test files of a stage under Node or Bun. */
export function runOn(
  { kind }: Runtime,
  program: string,
  directory: string,
  files: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<RunResult> {
  return run(program, (report) => parametersOf[kind](files, report), { cwd: directory, env: environment });
}
