import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { asWanted, missing, variants, verify } from "./run.ts";

const lacking = await missing();

for (const variant of variants) {
  const name = `model: ${variant.name} ${variant.refuted ? `is refuted by ${variant.refuted}` : "holds"}`;
  const run = async () => {
    const finding = await verify(variant);
    assert(asWanted(variant, finding), JSON.stringify(finding));
  };
  // Nothing is installed for the tests, nor asked of a machine that runs them: it is no part of the library.
  if (lacking) Deno.test.ignore(`${name} (${lacking} is not installed)`, () => {});
  else test(name, run);
}
