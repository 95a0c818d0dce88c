/**
 * Who imports whom, as Deno itself resolves it.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { relative } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { command } from "../runtimes/command.ts";

/** One import. */
export interface Import {
  /** The module that imports, by its path in the project. */
  readonly file: string;
  /** What it names. */
  readonly specifier: string;
  /** The module of the project that is meant; `undefined` for a package or a built-in module. */
  readonly target: string | undefined;
  /** Whether it is loaded only when it is wanted. */
  readonly dynamic: boolean;
  /** Whether it disappears with the types. */
  readonly typeOnly: boolean;
}

/** What is read of the answer of `deno info --json`. */
interface Info {
  readonly modules: readonly {
    readonly specifier: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly isDynamic?: boolean;
      readonly code?: { readonly specifier?: string };
      readonly type?: { readonly specifier?: string };
    }[];
  }[];
}

function pathOf(url: string | undefined): string | undefined {
  return url?.startsWith("file:") ? relative(".", fileURLToPath(url)).replaceAll("\\", "/") : undefined;
}

/** Every import in the modules that can be reached from some entry points. */
export async function importsFrom(...entries: string[]): Promise<Import[]> {
  const found = new Map<string, Import[]>();
  for (const entry of entries) {
    const { code, stdout, output } = await command(process.execPath, ["info", "--json", "--quiet", entry]);
    if (code !== 0) throw new Error(`Cannot read the imports of ${entry}\n${output}`);
    for (const { specifier, dependencies = [] } of (JSON.parse(stdout) as Info).modules) {
      const file = pathOf(specifier);
      if (file === undefined) continue;
      found.set(
        file,
        dependencies.map(({ specifier, isDynamic = false, code, type }) => ({
          file,
          specifier,
          target: pathOf((code ?? type)?.specifier),
          dynamic: isDynamic,
          typeOnly: code === undefined,
        })),
      );
    }
  }
  return [...found.values()].flat();
}

/** Folders beside the engines: what several of them share. */
const SHARED = ["sessions", "shared"];

/** The engines, by the names of their folders. */
export async function engineFolders(): Promise<string[]> {
  return (await readdir("backends")).filter((folder) => !SHARED.includes(folder)).sort();
}

/** Whether a part of the house is shared by engines. */
export function isShared(part: string): boolean {
  return SHARED.some((folder) => part === `backends/${folder}`);
}

/** The entry points of the package, by their path in the project. */
export async function entryPoints(): Promise<string[]> {
  const { exports } = JSON.parse(await readFile("deno.json", "utf8"));
  return Object.values<string>(exports).map((path) => path.replace(/^\.\//, ""));
}
