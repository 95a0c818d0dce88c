import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { sources } from "./sources.ts";

/** A module's text without its comments. */
async function codeOf(file: string): Promise<string> {
  const text = await readFile(file, "utf8");
  return text.replaceAll(/\/\*[\s\S]*?\*\//g, "").replaceAll(/^\s*\/\/.*$/gm, "");
}

/** What type stripping cannot take away, and what Node 22 does not know. */
const FORBIDDEN: readonly { readonly what: string; readonly pattern: RegExp }[] = [
  { what: "using", pattern: /^\s*(?:await )?using \w+ = /m },
  { what: "for using", pattern: /\bfor (?:await )?\((?:await )?using \w/ },
  { what: "enum", pattern: /^\s*(?:export )?(?:const )?enum \w/m },
  { what: "namespace", pattern: /^\s*(?:export )?namespace \w/m },
  { what: "parameter property", pattern: /constructor\([^)]*\b(?:private|public|protected|readonly) /m },
];

test("the sources use only what Node 22 knows once the types are stripped", async () => {
  const wrong: string[] = [];
  for (const file of await sources()) {
    const code = await codeOf(file);
    for (const { what, pattern } of FORBIDDEN) if (pattern.test(code)) wrong.push(`${file}: ${what}`);
  }
  assert.deepEqual(wrong, []);
});

test("mod.ts only exports", async () => {
  for (const file of (await sources()).filter((path) => /^(backends\/\w+\/)?mod.ts$/.test(path))) {
    const statements = (await codeOf(file)).split(/;\s*\n/).map((text) => text.trim()).filter((text) => text !== "");
    assert.deepEqual(statements.filter((text) => !/^export [^=]*\bfrom\b/.test(text)), [], file);
  }
});
