import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { engineFolders, entryPoints, type Import, importsFrom, isShared } from "./graph.ts";

/** The part of the house that a module is in. */
function partOf(file: string): string {
  const [first, second] = file.split("/");
  return first === "backends" ? `backends/${second}` : first;
}

/** Whether one part may import another; of the core, `connect.ts` alone loads engines. */
function mayImport({ file, target, dynamic }: Import): boolean {
  const [from, to] = [partOf(file), partOf(target!)];
  if (from === to) return true;
  if (from === "cli.ts") return to === "cli";
  if (from === "cli") return to === "mod.ts";
  if (from === "mod.ts" || from === "web_locks") return to === "core";
  if (from === "web_locks.ts") return to === "web_locks";
  if (from === "tests") return to === "mod.ts"; // the conformance suite
  if (file === "core/connect.ts" && dynamic) return to.startsWith("backends/") && target!.endsWith("/mod.ts");
  return from.startsWith("backends/") && (to === "core" || isShared(to));
}

/** The groups of modules that import each other, also by types alone (Tarjan's strongly connected components). */
function circlesOf(imports: readonly Import[]): string[][] {
  const targets = Map.groupBy(imports.filter(({ target }) => target !== undefined), ({ file }) => file);
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];
  const visit = (file: string) => {
    order.set(file, order.size);
    lowest.set(file, order.get(file)!);
    stack.push(file);
    for (const { target } of targets.get(file) ?? []) {
      if (!order.has(target!)) visit(target!);
      if (stack.includes(target!)) lowest.set(file, Math.min(lowest.get(file)!, lowest.get(target!)!));
    }
    if (lowest.get(file) !== order.get(file)) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const file of targets.keys()) if (!order.has(file)) visit(file);
  return circles;
}

const imports = await importsFrom(...await entryPoints());

test("imports flow one way: cli, mod, core, its seam, and the engines behind it; web_locks, core", () => {
  const wrong = imports.filter((found) => found.target !== undefined && !mayImport(found));
  assert.deepEqual(wrong.map(({ file, target }) => `${file} imports ${target}`), []);
});

test("importing the library loads no package and no built-in module, the conformance suite only node:assert", () => {
  const wrong = imports.filter(({ file, specifier, target, dynamic, typeOnly }) =>
    target === undefined && !dynamic && !typeOnly && !partOf(file).startsWith("cli") &&
    !(partOf(file) === "tests" && specifier === "node:assert/strict")
  );
  assert.deepEqual(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`), []);
});

test("no modules import each other in a circle", () => {
  assert.deepEqual(circlesOf(imports), []);
});

test("connect names every engine, for bundlers and compiled programs to take along", async () => {
  const named = imports.filter(({ file, dynamic }) => file === "core/connect.ts" && dynamic);
  const engines = await engineFolders();
  assert.deepEqual(
    [...new Set(named.map(({ target }) => target))].sort(),
    engines.map((engine) => `backends/${engine}/mod.ts`),
  );
});

test("every engine has an entry point", async () => {
  const entries = (await entryPoints()).filter((path) => path.startsWith("backends/"));
  assert.deepEqual(entries.sort(), (await engineFolders()).map((engine) => `backends/${engine}/mod.ts`));
});

test("tests of every runtime know the library by its public names alone", async () => {
  const neutral: string[] = [];
  for (const folder of ["conformance", "core", "drivers", "orms", "processes", "sqlite", "web_locks", "package"]) {
    for (const path of await readdir(`tests/${folder}`, { recursive: true })) {
      if (path.endsWith("_test.ts")) neutral.push(`tests/${folder}/${path}`);
    }
  }
  const wrong = (await importsFrom(...neutral)).filter(({ file, specifier, target }) =>
    file.startsWith("tests/") && target !== undefined && !target.startsWith("tests/") && specifier.startsWith(".")
  );
  assert.deepEqual(wrong.map(({ file, specifier }) => `${file} imports ${specifier}`), []);
});
