/**
 * One way to register a test on every runtime, with that runtime's own runner.
 *
 * @module
 */

/** Registers a test. */
export type Register = (name: string, run: () => void | Promise<void>) => void;

async function registrar(): Promise<Register> {
  const { Deno, Bun } = globalThis as { Deno?: { test: Register }; Bun?: unknown };
  if (Deno) return (name, run) => Deno.test(name, async () => await run());
  const runner = Bun ? "bun:test" : "node:test";
  const { test } = await import(runner) as { test: Register };
  return (name, run) => test(name, () => run());
}

/** Registers a test with the runner of the runtime at hand. */
export const test: Register = await registrar();
