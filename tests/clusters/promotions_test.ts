import assert from "node:assert/strict";
import { report } from "../history/checker.ts";
import { test } from "../harness.ts";
import { flavors } from "../mysql/flavors.ts";
import { mysqlPair, type Pair, postgresPair, promoteUnderWork, type Promotion } from "./promotions.ts";

/** Seconds after which the name must be free on a busy machine. Clients wait, and leases last, for longer. */
const LONGEST = 12;

function promotion(name: string, start: () => Promise<Pair>, what: Omit<Promotion, "seed">): void {
  test(`${name}: ${what.mode}: clients at work when a standby is promoted after a ${what.failure}`, async () => {
    await using pair = await start();
    const { verdict, seconds } = await promoteUnderWork(pair, { ...what, seed: 1 });
    assert.equal(verdict.offences.length, 0, report(verdict));
    assert(seconds < LONGEST, `the name was free ${seconds} s after the promotion`);
  });
}

promotion("postgres", postgresPair, { mode: "lease", failure: "split" });
const mariadb = flavors.find(({ name }) => name === "mariadb")!;
// nothing but the new session of a client that waits shortens the lease
promotion("mariadb", () => mysqlPair(mariadb), { mode: "hybrid", failure: "split" });
