import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { pages } from "./pages.ts";

/** Words that hide the actor or are no longer current English, and what to write instead. */
const WORDS: readonly (readonly [word: RegExp, instead: string])[] = [
  [/\b(?:somebody|nobody|whoever|whosoever)\b/i, "the process, client, caller, holder or waiter"],
  [/\bshall\b/i, "must"],
  [/\banew\b/i, "again"],
  [/\bin vain\b/i, "without success"],
  [/\bfor ever\b/i, "permanently, without limit"],
  [/\bunless said\b/i, "by default"],
  [/\blapsed?s?\b/i, "expire"],
  [/\bvouch(?:es|ed)?\b/i, "liveness lock"],
  [/\btravel(?:s|led)? together\b/i, "are batched"],
];

test("the pages name the actor and use current English", async () => {
  const wrong: string[] = [];
  for (const page of await pages()) {
    for (const [index, line] of (await readFile(page, "utf8")).split("\n").entries()) {
      for (const [word, instead] of WORDS) {
        if (word.test(line)) wrong.push(`${page}:${index + 1}: ${word.exec(line)![0]}: want ${instead}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});
