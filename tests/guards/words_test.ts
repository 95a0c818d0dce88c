import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { pages } from "../docs/pages.ts";
import { test } from "../harness.ts";
import { sources } from "./sources.ts";

/** Words that are not used for things that have a usual name, and the usual name. */
const WORDS: readonly (readonly [word: RegExp, instead: string])[] = [
  [/\bcountedFrom\b/, "leaseStart"],
  [/\bmayPass\b/, "isRetryable"],
  [/\bfresh_?row\b/i, "grantedRow"],
  [/\bbreathe\b/i, "yieldToEventLoop"],
  [/\bletGo\b/, "unref"],
  [/\bbounded_?map\b/i, "lruMap"],
  [/\bliterals\b/i, "inlined parameters"],
  [/\bwitness(?:es)?\b/i, "lock activity"],
  [/\b(?:arena|venue|ground)s?\b/i, "environment, fixture"],
  [/\benrolments?\b/i, "registration"],
  [/\b(?:crew|hire|hired)\b/i, "workers, spawn"],
  [/\bliars?\b/i, "faulty backend"],
  [/\b(?:askers?|road|courtesy|bell)\b/i, "pending request, batcher, fairness, wake-up"],
  [/\b(?:atWork|atHand|plainNo|giveWay|isFarewell|lookAfterAll)\b/, "a name of the glossary in the field's words"],
  [/\b(?:vouch(?:er|ers|es|ed)?)\b/i, "liveness lock, livenessKey"],
  [/\bwishes\b/i, "parameters"],
  [/\b(?:peek|glance)\b/i, "selectHolder, exists"],
  [/\b(?:Borrowed|Executing|LentSource)\b/, "ExternalSql, ExternalFunction, ExternalPool"],
  [/\bfarewells?\b/i, "fatal error"],
  [/\bannouncing\b/i, "registration of a waiter"],
  [/\b(?:carriers|roomy)\b/i, "session pool, withCapacity"],
  [/\b(?:linger|lanes)\b/i, "queryWithTimeout, chunks in parallel"],
  [/\b(?:foresee|hopeless|politely)\b/i, "precheck, withCallerSettings"],
  [/\blifelines?\b/i, "session, SessionHandle"],
  [/\bcrowd(?:s|ed)?\b/i, "batch"],
  // "held by nobody" is what list, show and the pages say of a name that was released before its least time
  [/\b(?:somebody|(?<!\bby )nobody|whoever|whosoever|everybody)\b/i, "the process, client, caller, holder or waiter"],
  [/\b(?:shall|anew|in vain|for ever)\b/i, "must, again, without success, permanently"],
];

/** Further words of pages, where code has them in other meanings. */
const WORDS_OF_PAGES: typeof WORDS = [
  [/\bunless said\b/i, "by default"],
  [/\blapsed?s?\b/i, "expire"],
  [/\btravel(?:s|led)? together\b/i, "are batched"],
];

/** The places where files have one of the words. */
async function places(files: readonly string[], words: typeof WORDS): Promise<string[]> {
  const found: string[] = [];
  for (const file of files) {
    for (const [index, line] of (await readFile(file, "utf8")).split("\n").entries()) {
      for (const [word, instead] of words) {
        const [text] = word.exec(line) ?? [];
        if (text) found.push(`${file}:${index + 1}: ${text}: want ${instead}`);
      }
    }
  }
  return found;
}

test("code and pages use the usual names of things", async () => {
  assert.deepEqual(await places([...await sources(), ...await pages()], WORDS), []);
});

test("pages use current English", async () => {
  assert.deepEqual(await places(await pages(), WORDS_OF_PAGES), []);
});
