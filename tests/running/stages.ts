/**
 * Folders in which Node and Bun run the tests that need no particular runtime. Outside the project, since these
 * runtimes find packages by a `package.json` and `node_modules`, which the project does not have.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { installed, npmInstall } from "../runtimes/installing.ts";
import { command } from "../runtimes/command.ts";
import { copyTree, lower } from "./lowering.ts";

/** What the tests are run against: the files of the project, or what npm installs of it. */
export type Subject = "source" | "package";

/** A folder to run tests in, removed on disposal. */
export interface Stage extends AsyncDisposable {
  /** Where it is. */
  readonly directory: string;
}

/** What is read here of `deno.json`. */
interface Configuration {
  readonly name: string;
  readonly version: string;
  readonly exports: Record<string, string>;
  readonly imports: Record<string, string>;
}

/** What the package is made of, where it is there. */
const SOURCES = ["mod.ts", "cli.ts", "web_locks.ts", "core", "backends", "cli", "web_locks"];

async function configuration(): Promise<Configuration> {
  return JSON.parse(await readFile("deno.json", "utf8"));
}

/** The npm packages in the import map, in the versions of the lock file where it has them. */
export async function dependencies(): Promise<Record<string, string>> {
  const { imports } = await configuration();
  const locked = existsSync("deno.lock") ? JSON.parse(await readFile("deno.lock", "utf8")).specifiers ?? {} : {};
  const found: Record<string, string> = {};
  for (const specifier of Object.values(imports)) {
    const [, name, range] = /^npm:(@?[^@/]+(?:\/[^@/]+)?)(?:@([^/]+))?/.exec(specifier) ?? [];
    if (name === undefined) continue;
    const key = Object.keys(locked).find((key) => key.startsWith(`npm:${name}@`)); // it may spell the range otherwise
    const version: string | undefined = key && locked[key];
    found[name] = version?.replace(/_.*/, "") ?? range ?? "latest"; // the rest of a locked version names its peers
  }
  delete found.esbuild; // for this folder's own work
  return found;
}

async function makeStage(fill: (directory: string) => Promise<void>): Promise<Stage> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-stage-"));
  const remove = () => rm(directory, { recursive: true, force: true });
  try {
    await fill(directory);
    for (const path of ["tests", "backends", "examples", "deno.json"]) await copyTree(path, join(directory, path));
    for (const path of ["tests", "examples"]) await lower(join(directory, path));
  } catch (error) {
    await remove();
    throw error;
  }
  return { directory, [Symbol.asyncDispose]: remove };
}

/** The project's own files under the package's name, which a package may import itself by. */
function stageSource(): Promise<Stage> {
  return makeStage(async (directory) => {
    const { name, version, exports } = await configuration();
    const manifest = { name, version, type: "module", exports, dependencies: await dependencies() };
    const packages = await installed(manifest.dependencies);
    await writeFile(join(directory, "package.json"), JSON.stringify(manifest));
    await symlink(join(packages, "node_modules"), join(directory, "node_modules"), "junction");
    for (const path of SOURCES) if (existsSync(path)) await cp(path, join(directory, path), { recursive: true });
  });
}

/** A program that has installed the tarball with npm alone. */
function stagePackage(): Promise<Stage> {
  return makeStage(async (directory) => {
    const { name } = await configuration();
    await mkdir(directory, { recursive: true });
    const tarball = join(directory, "lockmgr.tgz");
    const env = { GITHUB_REPOSITORY: process.env.GITHUB_REPOSITORY ?? "someone/lockmgr" }; // as where it is published
    const { code, output } = await command(process.execPath, ["run", "-A", "scripts/pack.ts", tarball], { env });
    if (code !== 0) throw new Error(`Cannot pack the project: it ended with ${code}\n${output}`);
    const packages = { ...await dependencies(), [name]: `file:${tarball}` };
    const manifest = { private: true, type: "module", dependencies: packages };
    await writeFile(join(directory, "package.json"), JSON.stringify(manifest));
    await npmInstall(directory);
  });
}

/** Makes the folder for a subject. */
export function makeStageFor(subject: Subject): Promise<Stage> {
  return subject === "source" ? stageSource() : stagePackage();
}
