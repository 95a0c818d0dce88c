import { conformance } from "@lockmgr/lockmgr/conformance";
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { type Database, engines, registrations } from "./backends.ts";

for (const { name: backend, mode, create } of registrations) {
  let database: Database; // each case has one of its own
  conformance({
    supports: { mode },
    open: () => database.open(),
    test: (name, body) =>
      test(`${backend}: ${name}`, async () => {
        database = await create();
        try {
          await body();
        } finally {
          await database[Symbol.asyncDispose]();
        }
      }),
  });
}

test("every backend is registered for the conformance suite", async () => {
  const folders = await readdir(new URL("../../backends/", import.meta.url));
  const shared = ["sessions", "shared"]; // what several engines are made of
  assert.deepEqual(Object.keys(engines).sort(), folders.filter((folder) => !shared.includes(folder)).sort());
});
