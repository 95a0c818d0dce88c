import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { test } from "../harness.ts";
import { engines, registrations } from "./backends.ts";
import type { Case } from "./case.ts";
import { acquiring } from "./cases/acquiring.ts";
import { closing } from "./cases/closing.ts";
import { crowds } from "./cases/crowds.ts";
import { defects } from "./cases/defects.ts";
import { holding } from "./cases/holding.ts";
import { listing } from "./cases/listing.ts";
import { managing } from "./cases/managing.ts";
import { naming } from "./cases/naming.ts";
import { options } from "./cases/options.ts";
import { properties } from "./cases/properties.ts";
import { records } from "./cases/records.ts";
import { renewing } from "./cases/renewing.ts";
import { seam } from "./cases/seam.ts";
import { setting } from "./cases/setting.ts";
import { waiting } from "./cases/waiting.ts";

const cases: readonly Case[] = [
  ...acquiring,
  ...closing,
  ...crowds,
  ...defects,
  ...holding,
  ...listing,
  ...managing,
  ...naming,
  ...options,
  ...properties,
  ...records,
  ...renewing,
  ...seam,
  ...setting,
  ...waiting,
];

for (const registration of registrations) {
  for (const { name, rows, run } of cases) {
    if (rows && registration.mode === "session") continue;
    test(`${registration.name}: ${name}`, async () => {
      await using fixture = await registration.open();
      await run(fixture, registration);
    });
  }
}

test("every backend is registered for the conformance suite", async () => {
  const folders = await readdir(new URL("../../backends/", import.meta.url));
  const shared = ["sessions", "shared"]; // what several engines are made of
  assert.deepEqual(Object.keys(engines).sort(), folders.filter((folder) => !shared.includes(folder)).sort());
});
