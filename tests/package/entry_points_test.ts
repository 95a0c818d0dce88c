import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { installedPackage, packageName } from "./installed.ts";

interface Manifest {
  readonly exports: Record<string, { readonly types: string; readonly import: string }>;
  readonly bin: Record<string, string>;
  readonly dependencies?: Record<string, string>;
  readonly keywords: readonly string[];
  readonly types: string;
  readonly homepage: string;
  readonly repository: { readonly url: string };
}

const manifest: Manifest = JSON.parse(await readFile(join(installedPackage, "package.json"), "utf8"));

test("the package has every entry point of the project", async () => {
  const { exports } = JSON.parse(await readFile("deno.json", "utf8"));
  assert.deepEqual(Object.keys(manifest.exports).sort(), Object.keys(exports).sort());
});

test("the package says where it comes from, and what it is found by", () => {
  const { keywords, types, homepage, repository } = manifest;
  assert(["lock", "sqlite", "postgres", "mysql"].every((word) => keywords.includes(word)), keywords.join(" "));
  assert.equal(types, manifest.exports["."].types);
  assert.match(homepage, /^https:\/\/.+\/@lockmgr\/lockmgr$/);
  assert.match(repository.url, /^git\+https:\/\/.+\.git$/);
});

for (const [entry, { types }] of Object.entries(manifest.exports)) {
  const specifier = packageName + entry.slice(1);

  test(`${specifier} is imported`, async () => {
    const module = await import(specifier);
    assert(Object.keys(module).length > 0);
  });

  if (entry !== "./cli") { // a program, not a library
    test(`${specifier} is loaded by require`, async () => {
      assert.equal(createRequire(`${process.cwd()}/`)(specifier), await import(specifier));
    });
  }

  test(`${specifier} has type declarations`, async () => {
    const text = await readFile(join(installedPackage, types), "utf8");
    assert.match(text, /export/);
  });
}

test("importing the library loads no database driver", async () => {
  const { process } = globalThis as unknown as { process: { getBuiltinModule?(name: string): unknown } };
  const loaded: string[] = [];
  const get = process.getBuiltinModule;
  process.getBuiltinModule = (name) => {
    loaded.push(name);
    return get?.call(process, name);
  };
  try {
    await import(`${packageName}?fresh`).catch(() => import(packageName));
    assert(!loaded.includes("node:sqlite"));
  } finally {
    process.getBuiltinModule = get;
  }
});

test("the package has no tests of its own", async () => {
  const paths = await readdir(installedPackage, { recursive: true });
  assert.deepEqual(paths.filter((path) => path.includes("_test.") && !path.includes("node_modules")), []);
});

test("nothing comes from another registry than npm's", () => {
  for (const [name, version] of Object.entries(manifest.dependencies ?? {})) {
    assert.doesNotMatch(`${name}@${version}`, /jsr|https?:/);
  }
});
