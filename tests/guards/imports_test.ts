import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { entryPoints, type Import, importsFrom } from "./graph.ts";

/** The part of the house that a module is in. */
function partOf(file: string): string {
  const [first, second] = file.split("/");
  return first === "backends" ? `backends/${second}` : first;
}

/** Whether one part may import another; the core names no engine, which it loads by a computed path. */
function mayImport({ file, target, dynamic }: Import): boolean {
  const [from, to] = [partOf(file), partOf(target!)];
  if (from === to) return true;
  if (from === "cli.ts") return to === "cli";
  if (from === "cli") return to === "mod.ts" || (to.startsWith("backends/") && dynamic);
  if (from === "mod.ts") return to === "core";
  return from.startsWith("backends/") && to === "core";
}

/** How many modules a program may load by importing the library: each costs its start half a percent on Deno. */
const MOST_MODULES = 10;

const imports = await importsFrom(...await entryPoints());

test("imports flow one way: cli, mod, core, its seam, and the engines behind it", () => {
  const wrong = imports.filter((found) => found.target !== undefined && !mayImport(found));
  assert.deepEqual(wrong.map(({ file, target }) => `${file} imports ${target}`), []);
});

test("importing the library loads no package and no built-in module", () => {
  const wrong = imports.filter(({ file, target, dynamic, typeOnly }) =>
    target === undefined && !dynamic && !typeOnly && !partOf(file).startsWith("cli")
  );
  assert.deepEqual(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`), []);
});

test("importing the library loads few modules, and Deno reads no others", () => {
  const reached = new Set(["mod.ts"]);
  for (const file of reached) {
    for (const found of imports) {
      if (found.file === file && found.target !== undefined && !found.typeOnly) reached.add(found.target);
    }
  }
  assert(reached.size <= MOST_MODULES, `${reached.size} modules: ${[...reached].join(" ")}`);
});

test("engines are named in one module of the core", async () => {
  const naming: string[] = [];
  for (const path of await readdir("core")) {
    if (/["'`/]backends\/|import\((?!")/.test(await readFile(`core/${path}`, "utf8"))) naming.push(path);
  }
  assert.deepEqual(naming.sort(), ["engines.ts", "loading.ts"]);
});

test("the command line names every engine, for Deno to take along into a compiled program", async () => {
  const named = imports.filter(({ file, dynamic }) => file.startsWith("cli/") && dynamic).map(({ target }) => target);
  assert.deepEqual(named.sort(), (await readdir("backends")).map((engine) => `backends/${engine}/mod.ts`).sort());
});

test("every engine has an entry point", async () => {
  const entries = (await entryPoints()).filter((path) => path.startsWith("backends/"));
  const engines = await readdir("backends");
  assert.deepEqual(entries.sort(), engines.map((engine) => `backends/${engine}/mod.ts`).sort());
});

test("tests of every runtime know the library by its public names alone", async () => {
  const neutral: string[] = [];
  for (const folder of ["conformance", "core", "drivers", "processes", "sqlite", "package"]) {
    for (const path of await readdir(`tests/${folder}`, { recursive: true })) {
      if (path.endsWith("_test.ts")) neutral.push(`tests/${folder}/${path}`);
    }
  }
  const wrong = (await importsFrom(...neutral)).filter(({ file, specifier, target }) =>
    file.startsWith("tests/") && target !== undefined && !target.startsWith("tests/") && specifier.startsWith(".")
  );
  assert.deepEqual(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`), []);
});
