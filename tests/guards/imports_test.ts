import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { entryPoints, type Import, importsFrom } from "./graph.ts";

/** The part of the house that a module is in. */
function partOf(file: string): string {
  const [first, second] = file.split("/");
  return first === "backends" ? `backends/${second}` : first;
}

/** Whether one part may import another; an engine is loaded by its name in one place only. */
function mayImport({ file, target, dynamic }: Import): boolean {
  const [from, to] = [partOf(file), partOf(target!)];
  if (from === to) return true;
  if (from === "cli.ts") return to === "cli";
  if (from === "cli") return to === "mod.ts" || (to.startsWith("backends/") && dynamic);
  if (from === "mod.ts") return to === "core";
  if (from === "core") return to.startsWith("backends/") && dynamic && file === "core/connect.ts";
  return from.startsWith("backends/") && to === "core";
}

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

test("every engine has an entry point", async () => {
  const entries = (await entryPoints()).filter((path) => path.startsWith("backends/"));
  const engines = await readdir("backends");
  assert.deepEqual(entries.sort(), engines.map((engine) => `backends/${engine}/mod.ts`).sort());
});

test("tests of every runtime know the library by its public names alone", async () => {
  const neutral: string[] = [];
  for (const folder of ["conformance", "core", "drivers", "mysql", "processes", "sqlite", "package"]) {
    for (const path of await readdir(`tests/${folder}`, { recursive: true })) {
      if (path.endsWith("_test.ts")) neutral.push(`tests/${folder}/${path}`);
    }
  }
  const wrong = (await importsFrom(...neutral)).filter(({ file, specifier, target }) =>
    file.startsWith("tests/") && target !== undefined && !target.startsWith("tests/") && specifier.startsWith(".")
  );
  assert.deepEqual(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`), []);
});
