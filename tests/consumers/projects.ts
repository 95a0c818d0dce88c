/**
 * Projects of people who have installed the package, and the tools that they use, which are installed once and kept
 * between runs.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { command } from "../runtimes/command.ts";
import { installed, programOf } from "../runtimes/installing.ts";
import { runtimes } from "../runtimes/runtimes.ts";

/** The tools and their plug-ins, by package. */
const PACKAGES = {
  "@arethetypeswrong/cli": "^0.18.5",
  "@rollup/plugin-commonjs": "^29.0.0",
  "@rollup/plugin-json": "^6.1.0",
  "@rollup/plugin-node-resolve": "^16.0.0",
  "@types/node": "^22.0.0",
  "deno": "^2.5.0",
  "esbuild": "^0.28.2",
  "jest": "^30.5.0",
  "miniflare": "^4.20260426.0",
  "publint": "^0.3.25",
  "rolldown": "~1.3.2",
  "rollup": "^4.68.0",
  "typescript-5.4": "npm:typescript@~5.4.0",
  "typescript-5.9": "npm:typescript@~5.9.0",
  "typescript-6.0": "npm:typescript@~6.0.0",
  "typescript-7.0": "npm:typescript@^7.0.0",
  "vite": "^8.4.0",
  "vitest": "^5.1.2",
  "webpack": "^5.113.0",
  "webpack-cli": "^7.3.1",
};

/** The program of each tool that is not a compiler of TypeScript. */
const TOOLS: Readonly<Record<string, string>> = {
  attw: "@arethetypeswrong/cli/dist/index.js",
  deno: "deno/bin.cjs",
  esbuild: "esbuild/bin/esbuild",
  jest: "jest/bin/jest.js",
  publint: "publint/src/cli.js",
  rolldown: "rolldown/bin/cli.mjs",
  rollup: "rollup/dist/bin/rollup",
  vite: "vite/bin/vite.js",
  vitest: "vitest/vitest.mjs",
  webpack: "webpack-cli/bin/cli.js",
};

const packages = join(await installed(PACKAGES), "node_modules");

/** Makes a project of these files, where the package and the tools are found, and returns its folder. */
export async function makeProject(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = join(process.cwd(), "projects", name); // npm has installed the package in a folder above
  await mkdir(directory, { recursive: true });
  await symlink(packages, join(directory, "node_modules"), "junction");
  for (const [file, text] of Object.entries(files)) {
    await mkdir(dirname(join(directory, file)), { recursive: true });
    await writeFile(join(directory, file), text);
  }
  return directory;
}

/** Returns the program of a tool, for Node. */
export function programOfTool(tool: string): string {
  return join(packages, TOOLS[tool] ?? `${tool}/bin/tsc`);
}

/** Runs a tool in a project; returns what it printed. */
export async function runTool(
  project: string,
  tool: string,
  parameters: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const options = { cwd: project, env: { NO_COLOR: "1", ...env } };
  const bun = runtimes.find(({ kind }) => kind === tool);
  const [program, ...first] = bun ? [await programOf(bun)] : [process.execPath, programOfTool(tool)];
  const { code, output } = await command(program, [...first, ...parameters], options);
  assert.equal(code, 0, `${tool} ${parameters.join(" ")} ended with ${code}\n${output}`);
  return output;
}
