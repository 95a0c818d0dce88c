import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { sources } from "./sources.ts";

/** Lines that may be published in all: a change that needs more lowers the number elsewhere first. */
const MOST_LINES = 27_580;
/** Lines of one file. */
const MOST_LINES_OF_FILE = 300;
/** Lines of one function, its signature and braces included. */
const MOST_LINES_OF_FUNCTION = 60;

const files = new Map<string, string[]>();
for (const file of await sources()) {
  files.set(file.replaceAll("\\", "/"), (await readFile(file, "utf8")).trimEnd().split("\n"));
}

/** Whether a line, formatted by `deno fmt`, opens the body of a function. */
function opensFunction(line: string): boolean {
  if (!line.endsWith("{") || /^\s*(?:export )?(?:abstract )?(?:class|interface|type|namespace)\b/.test(line)) {
    return false;
  }
  if (/^\s*(?:\} else|if|for|while|switch|try|do|\} catch|\} finally)\b/.test(line)) return false;
  return /=> \{$/.test(line) || /\)(?:: .+)? \{$/.test(line);
}

/** The first line of the function whose body opens at `at`: a signature may span several lines. */
function startOf(lines: readonly string[], at: number): number {
  const indent = /^\s*/.exec(lines[at])![0];
  if (!lines[at].startsWith(`${indent})`)) return at;
  let start = at - 1;
  while (start > 0 && !(lines[start].startsWith(indent) && /^\S/.test(lines[start].slice(indent.length)))) start--;
  return start;
}

/** The functions of a module as `[first line, lines]`. */
function functionsOf(lines: readonly string[]): [number, number][] {
  const found: [number, number][] = [];
  for (const [at, line] of lines.entries()) {
    if (!opensFunction(line)) continue;
    const end = `${/^\s*/.exec(line)![0]}}`;
    const last = lines.findIndex((each, index) => index > at && each.startsWith(end));
    const first = startOf(lines, at);
    found.push([first + 1, last - first + 1]);
  }
  return found;
}

test(`no published file is longer than ${MOST_LINES_OF_FILE} lines`, () => {
  const wrong = [...files].filter(([, { length }]) => length > MOST_LINES_OF_FILE);
  assert.deepEqual(wrong.map(([file, { length }]) => `${file}: ${length}`), []);
});

test(`no function is longer than ${MOST_LINES_OF_FUNCTION} lines`, () => {
  const wrong: string[] = [];
  for (const [file, lines] of files) {
    for (const [line, length] of functionsOf(lines)) {
      if (length > MOST_LINES_OF_FUNCTION) wrong.push(`${file}:${line}: ${length}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test(`at most ${MOST_LINES} lines are published`, () => {
  const total = [...files.values()].reduce((sum, { length }) => sum + length, 0);
  assert(total <= MOST_LINES, `${total} lines`);
});

test("exported names have more than one letter, and nothing is left to do", () => {
  const wrong: string[] = [];
  for (const [file, lines] of files) {
    for (const [index, line] of lines.entries()) {
      const short = /^export (?:async )?(?:abstract )?(?:function\*?|const|let|class|interface|type) \w\b/.test(line);
      if (short || /\b(?:TODO|FIXME|XXX)\b/.test(line)) wrong.push(`${file}:${index + 1}: ${line.trim()}`);
    }
  }
  assert.deepEqual(wrong, []);
});
