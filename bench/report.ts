/**
 * The page of figures: what was measured on which machine, what it was to be, and plots.
 *
 * @module
 */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { command } from "../tests/runtimes/command.ts";
import { figure, type Section, type Table, type Target } from "./section.ts";
import { draw } from "./svg.ts";

/** What a run was made on. */
export type Machine = Readonly<Record<string, string>>;

/** A table in Markdown. */
function markdown({ head, rows }: Table): string {
  const widths = head.map((word, column) => Math.max(3, ...[word, ...rows.map((row) => row[column])].map(widthOf)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell + " ".repeat(widths[column] - widthOf(cell))).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

const widthOf = (text: string) => [...text].length;

/** The targets as a table, by number. */
export function targetTable(targets: readonly Target[]): Table {
  const sorted = targets.toSorted((a, b) => a.line - b.line);
  return {
    head: ["target", "what", "wanted", "measured", "met"],
    rows: sorted.map(({ line, what, wanted, measured, met }) => [
      String(line),
      what,
      wanted,
      figure(measured),
      met ? "yes" : "**no**",
    ]),
  };
}

function chapter({ title, text, tables, plots }: Section, folder: string): string[] {
  return [
    `## ${title}`,
    ...text,
    ...tables.map(markdown),
    ...plots.map(({ name, title }) => `![${title}](${folder}/${name}.svg)`),
  ];
}

const INTRODUCTION = [
  "Made by `deno task bench`, which starts private servers on the machine that it runs on and measures everything in " +
  "turns, many and short, so that what the machine does besides falls on all alike. Figures are medians with the lower " +
  "and upper quartile. Expect ratios to hold elsewhere, not times: here a flush to the disk takes a tenth of a " +
  "millisecond, on a network disk ten times as much, and client and server share two cores.",
  "Each contestant has a process of its own. Chapters may come from different runs on that machine; what is compared " +
  "within one was always measured in one run.",
  "Where anything takes less than 150 µs, ratios are of lower quartiles: such times double or halve as the kernel " +
  "places the processes. A durable upsert is one committed statement that changes one row; a lease needs two.",
];

/** Writes the page, and its plots into a folder of its name beside it. */
export async function writeReport(path: string, machine: Machine, sections: readonly Section[]): Promise<void> {
  const folder = "performance";
  const targets = sections.flatMap(({ targets }) => targets);
  const missed = targets.filter(({ met }) => !met).length;
  const text = [
    "# Performance",
    ...INTRODUCTION,
    markdown({ head: ["what", "where this was measured"], rows: Object.entries(machine).map((row) => row) }),
    "## Targets",
    `${targets.length - missed} of ${targets.length} met.`,
    markdown(targetTable(targets)),
    ...sections.flatMap((section) => chapter(section, folder)),
  ].join("\n\n");
  const beside = join(dirname(path), folder);
  await mkdir(beside, { recursive: true });
  await writeFile(path, `${text}\n`);
  for (const plot of sections.flatMap(({ plots }) => plots)) {
    await writeFile(join(beside, `${plot.name}.svg`), draw(plot));
  }
  const { code, output } = await command(process.execPath, ["fmt", "--quiet", path]);
  if (code !== 0) throw new Error(`Cannot format ${path}: ${output}`);
}

/** Prints a table for a terminal. */
export function print(table: Table): void {
  console.log(`${markdown(table)}\n`);
}
