/**
 * The conformance suite as the author of a backend runs it, with each runner.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { programOf } from "../runtimes/installing.ts";
import { runtimes } from "../runtimes/runtimes.ts";
import { makeProject, programOfTool } from "./projects.ts";

const PROMISE = "a stale handle neither releases nor renews the next holder's lock";

const FILES = {
  "deno.json": '{ "nodeModulesDir": "manual" }',
  "sound.test.mjs": `
    conformance({ test, open: () => connect("sqlite:sound.db"), supports: { queueing: true } });`,
  "broken.test.mjs": `
    const only = (name, body) => name === ${JSON.stringify(PROMISE)} && test(name, body);
    const open = async () => {
      const real = await connect("sqlite:broken.db");
      return {
        engine: "broken",
        mode: "lease",
        acquire: (requests, options) => real.acquire(requests, options),
        renew: (requests) => real.renew(requests),
        release: (locks) => real.release(locks.map(({ name }) => ({ name, owner: null }))), // of any holder
        list: (filter) => real.list(filter),
        clean: (scope) => real.clean(scope),
        [Symbol.asyncDispose]: () => real[Symbol.asyncDispose](),
      };
    };
    conformance({ test: only, open });`,
};

/** A runner: what it calls `test`, and how it runs a file. */
interface Runner {
  readonly test: string;
  run(file: string): Promise<string[]>;
}

const bun = runtimes.find(({ kind }) => kind === "bun")!;

const runners: Readonly<Record<string, Runner>> = {
  "node:test": {
    test: 'import { test } from "node:test";',
    run: (file) => Promise.resolve([process.execPath, "--no-warnings", "--test", file]),
  },
  "bun:test": {
    test: 'import { test } from "bun:test";',
    run: async (file) => [await programOf(bun), "test", "--timeout=60000", `./${file}`],
  },
  "Deno.test": {
    test: "const { test } = Deno;",
    run: (file) => Promise.resolve([process.execPath, programOfTool("deno"), "test", "-A", "--no-check", file]),
  },
  "vitest": {
    test: 'import { test } from "vitest";',
    run: (file) => Promise.resolve([process.execPath, programOfTool("vitest"), "run", "--testTimeout=60000", file]),
  },
};

/** The runners that no other test runs the whole suite with from the package. */
const WHOLE = ["Deno.test", "vitest"];

async function prepare(name: string, runner: Runner) {
  const imports = `${runner.test}
    import { connect } from "@lockmgr/lockmgr";
    import { conformance } from "@lockmgr/lockmgr/conformance";`;
  const files = Object.entries(FILES).map(([file, text]) => [file, file.endsWith(".mjs") ? imports + text : text]);
  const project = await makeProject(`conformance ${name.replace(":", " ")}`, Object.fromEntries(files));
  return async (file: string) => {
    const [program, ...parameters] = await runner.run(file);
    return await command(program, parameters, { cwd: project, env: { NO_COLOR: "1", NODE_TEST_CONTEXT: undefined } });
  };
}

test("the conformance suite names the promise that a broken backend breaks, with each runner", async () => {
  await Promise.all(
    Object.entries(runners).map(async ([name, runner]) => {
      const run = await prepare(`broken ${name}`, runner);
      const { code, output } = await run("broken.test.mjs");
      assert.notEqual(code, 0, `${name}: ${output}`);
      assert(output.includes(`Cannot keep the promise ${JSON.stringify(PROMISE)}: `), `${name}: ${output}`);
    }),
  );
});

test("the conformance suite passes over SQLite with the runners of other projects", async () => {
  await Promise.all(WHOLE.map(async (name) => {
    const run = await prepare(`sound ${name}`, runners[name]);
    const { code, output } = await run("sound.test.mjs");
    assert.equal(code, 0, `${name}: ${output}`);
    assert.match(output, /\b(?:1[5-9]|2\d)\d passed/, name);
  }));
});
