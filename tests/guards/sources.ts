import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";

/** The modules that are published. */
export async function sources(): Promise<string[]> {
  const found = ["mod.ts", "cli.ts"].filter((path) => existsSync(path));
  for (const folder of ["core", "cli", "backends"].filter((path) => existsSync(path))) {
    for (const path of await readdir(folder, { recursive: true })) {
      if (path.endsWith(".ts")) found.push(`${folder}/${path}`);
    }
  }
  return found;
}
