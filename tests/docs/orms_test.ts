import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "../harness.ts";

/** Code without types and without what a formatter changes. */
function essence(code: string): string {
  return code.replace(/: (string\[\]|string|any)(?=[,)])/g, "").replace(/\s+/g, "").replace(/,\)/g, ")");
}

test("every line of the page about ORMs is one that the tests run", async () => {
  const page = await readFile("docs/orms.md", "utf8");
  const lines = Array.from(page.split("## Drivers without")[0].matchAll(/`([^`]+)`/g), ([, code]) => code);
  const shown = lines.filter((code) => /Backend\(|guard(Sync)?\(|acquireConnection|getClient/.test(code));
  assert(shown.length >= 25, `only ${shown.length} lines found`);
  const folder = "tests/orms/orms";
  const sources = await Promise.all((await readdir(folder)).map((file) => readFile(`${folder}/${file}`, "utf8")));
  const run = sources.map(essence).join("\n");
  assert.deepEqual(shown.filter((code) => !run.includes(essence(code))), []);
});
