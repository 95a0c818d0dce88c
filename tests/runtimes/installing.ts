/**
 * Brings runtimes and packages from npm into a cache outside the project.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { cached } from "../cache/cache.ts";
import { command } from "./command.ts";
import type { Runtime } from "./runtimes.ts";

/** A version that may move on, such as `latest`, is asked for again after this time. */
const FRESH_FOR_MS = 7 * 86_400_000;

/** How long an installation may take (ms): npm itself notices only after 300 s that a download stands still. */
const INSTALL_TIMEOUT_MS = 1_200_000;

/** Installs packages with npm alone, without their install scripts unless these are wanted. */
export async function npmInstall(directory: string, options: { scripts?: boolean } = {}): Promise<void> {
  const scripts = options.scripts ? [] : ["--ignore-scripts"];
  const flags = ["--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error", ...scripts];
  const { code, output } = await command(process.platform === "win32" ? "npm.cmd" : "npm", ["install", ...flags], {
    cwd: directory,
    timeout: INSTALL_TIMEOUT_MS,
  });
  if (code !== 0) throw new Error(`Cannot install packages with npm: it ended with ${code}\n${output}`);
}

/**
 * A folder whose `node_modules` has these packages.
 *
 * @param overrides What packages get in the place of those that they ask for.
 */
export async function installed(
  dependencies: Readonly<Record<string, string>>,
  overrides?: Readonly<Record<string, string>>,
): Promise<string> {
  const wanted = JSON.stringify({ private: true, type: "module", dependencies, overrides }, null, 2);
  const key = createHash("sha256").update(wanted).digest("hex").slice(0, 16);
  return await cached(key, async (directory) => {
    await writeFile(join(directory, "package.json"), wanted);
    await npmInstall(directory);
  }, FRESH_FOR_MS);
}

/** The runtime's program, installed when it is not there yet. */
export async function programOf(runtime: Runtime): Promise<string> {
  const directory = await installed({ [runtime.package]: runtime.version });
  return join(directory, "node_modules", runtime.package, runtime.executable);
}

/** The version that a program says it is. */
export async function versionOf(program: string): Promise<string> {
  const { code, stdout, output } = await command(program, ["--version"]);
  if (code !== 0) throw new Error(`Cannot run ${program}: it ended with ${code}\n${output}`);
  return stdout.trim().replace(/^v/, "");
}
