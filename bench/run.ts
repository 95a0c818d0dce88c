/**
 * Measures lockmgr beside floors and rivals on private servers, and says which targets are met.
 *
 * `deno task bench` measures everything (under twenty minutes) and writes `docs/performance.md` with its plots. Words
 * choose parts and write nothing: `deno task bench pairs "256 callers"`. `--engines=sqlite,postgres` leaves the other
 * engines out, `--quick` only shows that all of it works, `--out=DIRECTORY` writes the page there, where the
 * figures of parts that were not chosen stay those of the last run. `--again` measures
 * nothing and writes the page anew from the figures of the last run, which are kept beside it.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { machineOf } from "./machine.ts";
import { type Engine, engines } from "./places.ts";
import { type Machine, print, targetTable, writeReport } from "./report.ts";
import type { Section, Subject } from "./section.ts";
import { startEnvironment } from "./servers.ts";
import { callers } from "./subjects/callers.ts";
import { coldStart } from "./subjects/cold_start.ts";
import { counters } from "./subjects/counters.ts";
import { distance } from "./subjects/distance.ts";
import { growth } from "./subjects/growth.ts";
import { handoff } from "./subjects/handoff.ts";
import { held } from "./subjects/held.ts";
import { manyWaiters } from "./subjects/many_waiters.ts";
import { pairs } from "./subjects/pairs.ts";
import { race } from "./subjects/race.ts";
import { runtimes } from "./subjects/runtimes.ts";
import { sharing } from "./subjects/sharing.ts";
import { startup } from "./subjects/startup.ts";
import { waiting } from "./subjects/waiting.ts";

/** In the order of the page. */
const subjects: readonly Subject[] = [
  pairs,
  callers,
  handoff,
  sharing,
  waiting,
  manyWaiters,
  distance,
  race,
  growth,
  held,
  runtimes,
  startup,
  coldStart,
  counters,
];

/** What was asked for. */
interface Wishes {
  readonly words: readonly string[];
  readonly quick: boolean;
  readonly again: boolean;
  readonly engines: readonly Engine[];
  /** Where the page goes; nowhere when only a part was measured. */
  readonly out: string | undefined;
}

/** What is kept of a run. */
interface Figures {
  readonly machine: Machine;
  /** What each subject measured, by its name. */
  readonly measured: Record<string, unknown>;
}

const USAGE = "want --quick, --again, --engines=NAMES, --out=DIRECTORY or words";

function read(parameters: readonly string[]): Wishes {
  const words: string[] = [];
  let quick = false, again = false, chosen: readonly Engine[] = engines, out: string | undefined;
  for (const parameter of parameters) {
    const [, option, value] = /^--(\w+)(?:=(.+))?$/.exec(parameter) ?? [];
    if (option === undefined) words.push(parameter.toLowerCase());
    else if (option === "quick") quick = true;
    else if (option === "again") again = true;
    else if (option === "out" && value) out = value;
    else if (option === "engines" && value) chosen = engines.filter((engine) => value.split(",").includes(engine));
    else throw new TypeError(`Cannot use ${parameter}: ${USAGE}`);
  }
  if (chosen.length === 0) throw new TypeError(`Cannot measure no engine: want some of ${engines.join(", ")}`);
  const whole = !quick && words.length === 0 && chosen.length === engines.length;
  return { words, quick, again, engines: chosen, out: out ?? (whole || again ? "docs" : undefined) };
}

/** The figures of a run as text; what was not measured is `null` there. */
const FILE = "performance/figures.json";

async function keep(out: string, figures: Figures): Promise<void> {
  await mkdir(dirname(join(out, FILE)), { recursive: true });
  await writeFile(join(out, FILE), `${JSON.stringify(figures)}\n`);
}

async function remember(out: string): Promise<Figures> {
  return JSON.parse(await readFile(join(out, FILE), "utf8"), (_, value) => value === null ? NaN : value);
}

/** Measures the chosen subjects, one after the other, prints each as it comes, and keeps its figures. */
async function measure({ words, quick, engines, out }: Wishes): Promise<Figures> {
  const chosen = subjects.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
  if (chosen.length === 0) {
    throw new TypeError(`Cannot measure that: want ${subjects.map(({ name }) => name).join(", ")}`);
  }
  await using environment = await startEnvironment(engines);
  const partly = out !== undefined && words.length > 0 && existsSync(join(out, FILE));
  const measured = partly ? { ...(await remember(out)).measured } : {};
  const figures = { machine: await machineOf(environment.places, quick), measured };
  for (const { name, measure, describe } of chosen) {
    const startedAt = performance.now();
    console.log(`${name} …`);
    measured[name] = await measure(environment, quick);
    console.log(`${name}: ${((performance.now() - startedAt) / 1e3).toFixed(0)} s\n`);
    for (const table of describe(measured[name]).tables) print(table);
    if (out !== undefined) await keep(out, figures);
  }
  return figures;
}

function describe({ measured }: Figures): Section[] {
  return subjects.filter(({ name }) => name in measured).map((subject) => subject.describe(measured[subject.name]));
}

const wishes = read(process.argv.slice(2));
const figures = wishes.again ? await remember(wishes.out!) : await measure(wishes);
const sections = describe(figures);
if (wishes.out !== undefined) {
  await writeReport(join(wishes.out, "performance.md"), figures.machine, sections);
}
const targets = sections.flatMap(({ targets }) => targets);
if (targets.length > 0) print(targetTable(targets));
console.log(`${targets.filter(({ met }) => met).length} of ${targets.length} targets met`);
