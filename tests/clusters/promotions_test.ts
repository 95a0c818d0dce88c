import assert from "node:assert/strict";
import { report } from "../history/checker.ts";
import { test } from "../harness.ts";
import { FAILURES } from "./failures.ts";
import { postgresPair, promoteUnderWork } from "./promotions.ts";

for (const [seed, failure] of FAILURES.entries()) {
  const mode = seed === 0 ? "hybrid" : "lease";
  test(`postgres: ${mode}: clients at work when a standby is promoted after a ${failure}`, async () => {
    await using pair = await postgresPair();
    const { verdict, seconds, inTime } = await promoteUnderWork(pair, { failure, mode, seed });
    assert.equal(verdict.offences.length, 0, report(verdict));
    assert(inTime, `the name was free ${seconds} s after the promotion`);
  });
}
