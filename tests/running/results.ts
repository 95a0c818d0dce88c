/**
 * What came of tests, as each runner itself wrote it down.
 *
 * @module
 */

/** How many tests ended how. */
export interface Counts {
  /** Tests that held. */
  readonly passed: number;
  /** Tests that did not, and runners that broke. */
  readonly failed: number;
  /** Tests that could not run. */
  readonly skipped: number;
}

/** Nothing ran. */
export const NOTHING: Counts = { passed: 0, failed: 0, skipped: 0 };

/** Adds up. */
export function sum(counts: readonly Counts[]): Counts {
  return counts.reduce((total, { passed, failed, skipped }) => ({
    passed: total.passed + passed,
    failed: total.failed + failed,
    skipped: total.skipped + skipped,
  }), NOTHING);
}

/** `12 passed, 0 failed, 0 skipped`. */
export function sentence({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

/** A test in a JUnit report: an attribute may have ">" in it, and a body ends at its own closing tag. */
const CASE = /<testcase\b((?:[^>"]|"[^"]*")*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g;

/** What is said in a report of a test that did not hold. */
const FAILURE = /<(?:failure|error)\b(?:[^>"]|"[^"]*")*?(?:\/>|>([\s\S]*?)<\/(?:failure|error)>)/;

/** A test that did not hold. */
export interface Failure {
  /** What the test is called. */
  readonly name: string;
  /** The file that it is in, as far as the runner says so. */
  readonly file: string;
  /** What went wrong, with where. */
  readonly text: string;
}

/** How long a test took. */
export interface Duration {
  /** What the test is called. */
  readonly name: string;
  /** Seconds. */
  readonly seconds: number;
}

/** What a report says. */
export interface Report {
  /** How the tests ended. */
  readonly counts: Counts;
  /** Those that did not hold, in their order. */
  readonly failures: readonly Failure[];
  /** How long each test took. */
  readonly durations: readonly Duration[];
}

/** What is said of what failed before it could report anything. */
export function failedAs(name: string, text: string): Report {
  return { counts: { ...NOTHING, failed: 1 }, failures: [{ name, file: "", text }], durations: [] };
}

const ENTITIES: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

function unescaped(text: string): string {
  return text.replace(
    /&(?:#(\d+)|(\w+));/g,
    (whole, code, name) => code ? String.fromCodePoint(Number(code)) : ENTITIES[name] ?? whole,
  );
}

function attribute(attributes: string, name: string): string {
  return unescaped(new RegExp(`\\b${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
}

/** Reads a JUnit report, which the runners of Deno, Node and Bun all write. */
export function readReport(report: string): Report {
  let [passed, skipped] = [0, 0];
  const failures: Failure[] = [];
  const durations: Duration[] = [];
  for (const [, attributes, body = ""] of report.matchAll(CASE)) {
    durations.push({ name: attribute(attributes, "name"), seconds: Number(attribute(attributes, "time")) });
    const failure = FAILURE.exec(body);
    if (failure !== null) {
      const file = attribute(attributes, "file") || attribute(attributes, "classname");
      failures.push({ name: attribute(attributes, "name"), file, text: unescaped(failure[1] ?? "").trim() });
    } else if (/<skipped\b/.test(body)) skipped++;
    else passed++;
  }
  return { counts: { passed, failed: failures.length, skipped }, failures, durations };
}

/** What came of a run: a runner that ended badly without naming a test, or that ran none, is a failure of its own. */
export function readRun(report: string | undefined, code: number): Report {
  const read = readReport(report ?? "");
  const { counts } = read;
  const ran = counts.passed + counts.failed + counts.skipped;
  if (counts.failed > 0 || (code === 0 && ran > 0)) return read;
  const text = ran === 0 ? "no test ran" : "no test failed, and yet it ended badly";
  const { failures } = failedAs(`the runner ended with ${code}`, text);
  return { ...read, counts: { ...counts, failed: 1 }, failures };
}
