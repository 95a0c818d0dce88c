import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";

test("every path that ARCHITECTURE.md names exists", async () => {
  const text = (await readFile("ARCHITECTURE.md", "utf8")).replaceAll(/^```[\s\S]*?^```$/gm, "");
  const named = Array.from(text.matchAll(/`([\w./]+(?:\.\w+|\/))`/g), ([, path]) => path);
  assert(named.length > 5, "no paths found");
  assert.deepEqual(named.filter((path) => !existsSync(path)), []);
});
