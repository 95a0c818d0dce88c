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

/** Counts the tests in a JUnit report, which the runners of Deno, Node and Bun all write. */
export function countReport(report: string): Counts {
  let [passed, failed, skipped] = [0, 0, 0];
  for (const [, , body = ""] of report.matchAll(CASE)) {
    if (/<(failure|error)\b/.test(body)) failed++;
    else if (/<skipped\b/.test(body)) skipped++;
    else passed++;
  }
  return { passed, failed, skipped };
}

/** The counts of a run: a runner that ended badly without naming a test, or that ran none, is a failure of its own. */
export function countRun(report: string | undefined, code: number): Counts {
  const counts = countReport(report ?? "");
  const ran = counts.passed + counts.failed + counts.skipped;
  if (counts.failed === 0 && (code !== 0 || ran === 0)) return { ...counts, failed: 1 };
  return counts;
}
