/**
 * Test files as Node 22 can read them: it strips types but does not know `using`.
 *
 * @module
 */
import { stop, transform } from "esbuild";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Copies folders, leaving installed packages behind. */
export async function copyTree(from: string, to: string): Promise<void> {
  await cp(from, to, { recursive: true, filter: (path) => !path.endsWith("node_modules") });
}

/** Rewrites every module in a folder in place, under its own name, which imports go by. */
export async function lower(directory: string, extension: ".ts" | ".js" = ".ts"): Promise<void> {
  try {
    for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !entry.name.endsWith(extension)) continue;
      const path = join(entry.parentPath, entry.name);
      const source = await readFile(path, "utf8");
      if (!/\busing\b/.test(source)) continue;
      const { code } = await transform(source, {
        loader: "ts",
        format: "esm",
        target: "node22",
        sourcefile: path,
        sourcemap: extension === ".ts" && "inline",
      });
      await writeFile(path, code);
    }
  } finally {
    await stop();
  }
}
