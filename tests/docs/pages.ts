/**
 * The pages of documentation, and the blocks of code in them.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { join, sep } from "node:path";

/** A block of code in a page. */
export interface Block {
  /** The page, by its path within the project. */
  readonly page: string;
  /** The line of its first fence, from 1. */
  readonly line: number;
  /** The first word after the fence. */
  readonly language: string;
  /** The further words. */
  readonly marks: readonly string[];
  /** The code. */
  readonly text: string;
}

/** Every Markdown file at the root and under `docs/` and `examples/`. */
export async function pages(): Promise<string[]> {
  const found = (await readdir(".")).filter((name) => name.endsWith(".md"));
  for (const folder of ["docs", "examples"]) {
    for (const path of await readdir(folder, { recursive: true })) {
      const page = join(folder, path).replaceAll(sep, "/");
      if (page.endsWith(".md")) found.push(page);
    }
  }
  return found.sort();
}

/** The blocks of a page, in order. */
export function blocksOf(page: string, text: string): Block[] {
  const blocks: Block[] = [];
  for (const { 1: words, 2: code, index } of text.matchAll(/^```([^\n`]*)\n([\s\S]*?)^```$/gm)) {
    const [language = "", ...marks] = words.trim().split(/\s+/);
    const line = text.slice(0, index).split("\n").length;
    blocks.push({ page, line, language, marks, text: code });
  }
  return blocks;
}

/** The blocks of every page. */
export async function allBlocks(): Promise<Block[]> {
  const found = await pages();
  const blocks = await Promise.all(found.map(async (page) => blocksOf(page, await readFile(page, "utf8"))));
  return blocks.flat();
}
