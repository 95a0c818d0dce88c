/**
 * What a subject has to say: paragraphs, tables, plots, and which targets were met.
 *
 * @module
 */
import type { Environment } from "./servers.ts";
import type { Quartiles } from "./statistics.ts";

/** Whose figure: ours, ours without batching, a lower bound, or another library's. */
export type Kind = "ours" | "single" | "floor" | "rival";

/** A bar of a plot. */
export interface Bar extends Quartiles {
  readonly label: string;
  readonly kind: Kind;
}

/** A plot of bars with quartiles. */
export interface Plot {
  /** The file's name. */
  readonly name: string;
  readonly title: string;
  /** What is measured, in which unit. */
  readonly axis: string;
  readonly bars: readonly Bar[];
}

/** A table of text; the first column is words, the others figures. */
export interface Table {
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** One thing that was to be reached. */
export interface Target {
  /** The number of the goal. */
  readonly line: number;
  /** What was measured. */
  readonly what: string;
  /** What it should be, such as `<= 2.1`. */
  readonly wanted: string;
  /** What it was. */
  readonly measured: number;
  readonly met: boolean;
}

/** One thing that users want to know: a column of the table at the top of the page, and a part of its picture. */
export interface Short {
  readonly question: string;
  /** What is measured, and what is better. */
  readonly axis: string;
  /** Follows each figure of the table, such as ` ms`. */
  readonly unit: string;
  /** Figures by the label of what gives the locks. */
  readonly answers: Readonly<Record<string, number>>;
}

/** A chapter of the page. */
export interface Section {
  readonly title: string;
  readonly text: readonly string[];
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
  readonly targets: readonly Target[];
  readonly short?: Short;
}

/** Something that is measured. `Raw` is what is kept of a run, as JSON. */
export interface Subject<Raw = unknown> {
  /** What words on the command line choose it by. */
  readonly name: string;
  /** Measures; quickly means just enough to see that all of it works. */
  measure(environment: Environment, quick: boolean): Promise<Raw>;
  /** Says what came of it. */
  describe(raw: Raw): Section;
}

/** A subject, its type checked and forgotten: results of different shapes travel together. */
export function subject<Raw>(one: Subject<Raw>): Subject {
  return one as Subject;
}

/** A target that is a limit from above. */
export function atMost(line: number, what: string, limit: number, measured: number): Target {
  return { line, what, wanted: `<= ${limit}`, measured, met: measured <= limit };
}

/** A target that is a limit from below. */
export function atLeast(line: number, what: string, limit: number, measured: number): Target {
  return { line, what, wanted: `>= ${limit}`, measured, met: measured >= limit };
}

/** A figure with three digits that count. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return value === 0 ? "0" : String(Number(value.toPrecision(3)));
}

/** A median and its quartiles. */
export function spread({ lower, median, upper }: Quartiles): string {
  return `${figure(median)} (${figure(lower)}–${figure(upper)})`;
}
