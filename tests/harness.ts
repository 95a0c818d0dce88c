/**
 * One way to register a test on every runtime, with that runtime's own runner.
 *
 * @module
 */

/** Registers a test. */
export type Register = (name: string, run: () => void | Promise<void>) => void;

/** What the three runners have in common. */
interface Runner {
  (name: string, run: () => unknown): unknown;
  /** Deno's and Bun's way to leave a test out. */
  ignore?(name: string, run: () => unknown): unknown;
  /** Node's and Bun's way. */
  skip?(name: string, run: () => unknown): unknown;
}

const { Deno, Bun, process } = globalThis as {
  Deno?: { test: Runner };
  Bun?: unknown;
  process: { env: Record<string, string | undefined> };
};

async function findRunner(): Promise<Runner> {
  if (Deno) return Deno.test;
  const { test } = await import(Bun ? "bun:test" : "node:test") as { test: Runner };
  return test;
}

const runner = await findRunner();

/** How often each test runs in a row: `LOCKMGR_TEST_REPEAT=200` shows how rarely it fails. */
const repeat = Number(process.env.LOCKMGR_TEST_REPEAT ?? 1);

/** Registers a test with the runner of the runtime at hand. */
export const test: Register = (name, run) =>
  void runner(name, async () => {
    try {
      for (let round = 0; round < repeat; round++) await run();
    } catch (error) { // of a test that failed and could not clean up either the first error counts; reports do not show it
      throw (error as { suppressed?: unknown } | undefined)?.suppressed ?? error;
    }
  });

/**
 * Registers a test that cannot run here, for a reason outside the project such as an engine that is not installed.
 * It shows as skipped; where `CI` is set it fails, since nobody reads what was skipped there.
 */
export function skip(name: string, reason: string): void {
  if (process.env.CI) {
    return test(name, () => {
      throw new Error(`Cannot run this test: ${reason}`);
    });
  }
  (Deno ? runner.ignore : runner.skip)?.call(runner, `${name} (${reason})`, () => {});
}
