/**
 * The Web Platform Tests of Web Locks as the npm package `navigator.locks` has ported and extended them, run unchanged
 * from that package. docs/web-locks.md lists what of the platform's own tests is not among them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { test } from "../harness.ts";
import { installed } from "../runtimes/installing.ts";
import { place } from "../sqlite/place.ts";
import { stores } from "./engines.ts";
import { type Registered, setBackend, takeRegistered } from "./jest.ts";

/** The files, with how many tests each has. */
const FILES: Readonly<Record<string, number>> = {
  "acquire.test.ts": 10,
  "held.test.ts": 4,
  "ifAvailable.test.ts": 11,
  "lock-attributes.test.ts": 2,
  "mode-exclusive.test.ts": 2,
  "mode-mixed.test.ts": 1,
  "mode-shared.test.ts": 2,
  "query-empty.test.ts": 1,
  "query.test.ts": 8,
  "resource-names.test.ts": 8,
  "signal.test.ts": 9,
  "steal.test.ts": 5,
};

/** The others, which need a browser. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  "bfcache.test.ts": "pages that a browser keeps for its back button",
  "heartBeat.test.ts": "how that package finds closed tabs",
};

const HELPERS = `export * from ${JSON.stringify(new URL("./jest.ts", import.meta.url).href)};`;
const GLOBALS = `import { AbortController, describe, expect, jest, self, test, window } from "./helpers.ts";`;

/** Loads the tests of the package; what Jest has as globals, they import. */
async function load(): Promise<Map<string, Registered[]>> {
  const packages = await installed({ "navigator.locks": "0.9.1" });
  const sources = join(packages, "node_modules/navigator.locks/test");
  const files = (await readdir(sources)).filter((file) => file.endsWith(".test.ts")).sort();
  assert.deepEqual(files, [...Object.keys(FILES), ...Object.keys(LEFT_OUT)].sort());
  await using somewhere = await place();
  await mkdir(somewhere.directory, { recursive: true });
  await writeFile(join(somewhere.directory, "helpers.ts"), HELPERS);
  const loaded = new Map<string, Registered[]>();
  for (const file of Object.keys(FILES)) {
    const source = (await readFile(join(sources, file), "utf8")).replace('"./helpers"', '"./helpers.ts"');
    const path = join(somewhere.directory, file);
    await writeFile(path, `${GLOBALS}\n${source}`);
    await import(pathToFileURL(path).href);
    loaded.set(file, takeRegistered());
  }
  return loaded;
}

const tests = await load();

test("web locks: every test of the package that needs no browser is run", () => {
  assert.deepEqual(Object.fromEntries([...tests].map(([file, { length }]) => [file, length])), FILES);
});

const { "postgres hybrid": _, ...engines } = stores; // the mode makes no difference to the standard

for (const [engine, makeStore] of Object.entries(engines)) {
  for (const [file, registered] of tests) {
    test(`web locks, ${engine}: ${file}`, async () => {
      await using store = await makeStore();
      for (const { name, body } of registered) {
        await using backend = await store.open();
        setBackend(backend);
        await Promise.resolve(body()).catch((cause) =>
          Promise.reject(new Error(`${name}: ${cause.message}`, { cause }))
        );
      }
    });
  }
}
