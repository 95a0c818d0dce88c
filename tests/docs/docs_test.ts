import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, posix, resolve } from "node:path";
import process from "node:process";
import { slugOf } from "../../scripts/site/vitepress/slug.ts";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { allBlocks, type Block, pages } from "./pages.ts";
import { readCrontab, Shell } from "./shell.ts";

/** What may be said of a block: that it needs a server, or that it does not end or reaches outside. */
const MARKS: Record<string, readonly string[]> = { ts: ["", "ignore server"], sh: ["", "ignore"], crontab: [""] };
/** Commands that run this very test. */
const RECURSIVE = /\bdeno task (ok|test)\b/;

const blocks = await allBlocks();

function nameOf({ page, line }: Block): string {
  return `${page}, line ${line}`;
}

/** The blocks of a language, by page. */
function byPage(language: string): Map<string, Block[]> {
  return Map.groupBy(blocks.filter((block) => block.language === language), ({ page }) => page);
}

test("every block of code is of a kind that is run or checked", () => {
  const unknown = blocks.filter(({ language, marks }) => !MARKS[language]?.includes(marks.join(" ")));
  assert.deepEqual(unknown.map((block) => `${nameOf(block)}: ${block.language} ${block.marks.join(" ")}`), []);
});

test("the blocks that need a server are right by their types", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-docs-"));
  try {
    const copies: string[] = [];
    for (const page of byPage("ts").keys()) {
      const text = await readFile(page, "utf8");
      if (!/^```ts ignore server$/m.test(text)) continue;
      const copy = join(directory, page);
      await mkdir(dirname(copy), { recursive: true });
      await writeFile(copy, text.replaceAll(/^```ts ignore server$/gm, "```ts"));
      copies.push(copy);
    }
    if (copies.length === 0) return;
    const config = resolve("deno.json");
    const { code, output } = await command(process.execPath, ["check", "--config", config, "--doc-only", ...copies]);
    assert.equal(code, 0, output);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});

test("a block that opens connections of its own ends them: otherwise it does not end as it is pasted", () => {
  const opened = /^const (\w+) = (?:postgres|(?:mysql\.)?createPool|new (?:pg\.)?(?:Pool|Client))\(/gm;
  const left = blocks.filter(({ language, text }) =>
    language === "ts" && Array.from(text.matchAll(opened)).some(([, name]) => !text.includes(`await ${name}.end();`))
  );
  assert.deepEqual(left.map(nameOf), []);
});

for (const [page, found] of byPage("sh")) {
  test(`the shell of ${page} runs as it is pasted`, async () => {
    await using shell = await Shell.open();
    for (const block of found) {
      const { code, output } = block.marks.includes("ignore") || RECURSIVE.test(block.text)
        ? await command("/bin/sh", ["-nc", block.text])
        : await shell.run(block.text);
      assert.equal(code, 0, `${nameOf(block)}\n${output}`);
    }
  });
}

for (const [page, found] of byPage("crontab")) {
  test(`the crontabs of ${page} run`, async () => {
    await using shell = await Shell.open();
    for (const block of found) {
      const { variables, commands } = readCrontab(block.text);
      const settings = Object.entries(variables).map(([name, value]) => `export ${name}=${value}\n`).join("");
      for (const line of commands) {
        const { code, output } = await shell.run(settings + line);
        assert.equal(code, 0, `${nameOf(block)}: ${line}\n${output}`);
      }
    }
  });
}

/** The anchors that headings of a page have on the web. */
function anchorsOf(text: string): Set<string> {
  const headings = text.replaceAll(/^```[\s\S]*?^```$/gm, "").matchAll(/^#+ (.*)$/gm);
  return new Set(Array.from(headings, ([, heading]) => slugOf(heading)));
}

test("every link within the pages leads somewhere", async () => {
  const broken: string[] = [];
  for (const page of await pages()) {
    const text = (await readFile(page, "utf8")).replaceAll(/^```[\s\S]*?^```$/gm, "");
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, anchor] = target.split("#");
      const file = path === "" ? page : posix.join(posix.dirname(page), path);
      const there = existsSync(file) && (!anchor || anchorsOf(await readFile(file, "utf8")).has(anchor));
      if (!there) broken.push(`${page}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});
