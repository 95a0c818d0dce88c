import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";

/** Where a path begins: at the root of the project, or, for what engines have in common, in the folder of one. */
const FOLDERS = ["", "backends/sqlite/", "backends/postgres/", "backends/mysql/"];

test("every path that ARCHITECTURE.md names exists", async () => {
  const text = await readFile("ARCHITECTURE.md", "utf8");
  const named = Array.from(text.matchAll(/`([\w./]+(?:\.\w+|\/))`/g), ([, path]) => path);
  assert(named.length > 40, `only ${named.length} paths found`);
  assert.deepEqual(named.filter((path) => !FOLDERS.some((folder) => existsSync(folder + path))), []);
});
