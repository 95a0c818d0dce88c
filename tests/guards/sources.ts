import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";

/** What the entry point `./conformance` is made of, beside its cases. */
const CONFORMANCE = ["mod.ts", "suite.ts", "faulty_backend.ts"].map((file) => `tests/conformance/${file}`);

/** The modules that are published, without the cases of the conformance suite, which are tests. */
export async function sources(): Promise<string[]> {
  const found = ["mod.ts", "cli.ts", "web_locks.ts", ...CONFORMANCE].filter((path) => existsSync(path));
  for (const folder of ["core", "cli", "backends", "web_locks"].filter((path) => existsSync(path))) {
    for (const path of await readdir(folder, { recursive: true })) {
      if (path.endsWith(".ts")) found.push(`${folder}/${path}`);
    }
  }
  return found;
}
