/** The suite against backends that break one promise each. */
import { type Backend, connect } from "@lockmgr/lockmgr";
import { conformance, type Supports } from "@lockmgr/lockmgr/conformance";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "../harness.ts";
import {
  extendsWhenRefused,
  keepsTimeOfUpdate,
  leavesOneBehind,
  listsByUnits,
  releasesForStrangers,
  renewsForStrangers,
} from "../history/faulty_backends.ts";

/** Runs the case of this name over SQLite whose clients are changed by `breakIt`. */
async function runCase(name: string, breakIt: (real: Backend) => Backend, supports?: Supports): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  const bodies = new Map<string, () => Promise<void>>();
  conformance({
    test: (name, body) => bodies.set(name, body),
    open: async () => breakIt(await connect(`sqlite:${join(directory, "locks.db")}`)),
    supports,
  });
  try {
    await bodies.get(name)!();
  } finally {
    await rm(directory, { recursive: true });
  }
}

const BROKEN: readonly (readonly [promise: string, breakIt: (real: Backend) => Backend])[] = [
  ["a stale handle neither releases nor renews the next holder's lock", releasesForStrangers],
  ["by handle create acquires the name again, or throws Locked", renewsForStrangers],
  ["names are listed in the order of their code points", listsByUnits],
  ["updatedAt is the time of the last renewal, createdAt that of the grant", keepsTimeOfUpdate],
  ["allOrNothing: a refused request changes nothing of what its owner holds", extendsWhenRefused],
  ["allOrNothing: a busy name leaves the others free, wherever it is in the list", leavesOneBehind],
];

for (const [promise, breakIt] of BROKEN) {
  test(`conformance: a backend that breaks "${promise}" is told so`, async () => {
    await assert.rejects(runCase(promise, breakIt), (error: Error) => {
      assert(error.message.startsWith(`Cannot keep the promise "${promise}": `), error.message);
      assert(error.cause instanceof Error);
      return true;
    });
    await runCase(promise, (real) => real);
  });
}

test("conformance: options that are missing or misspelt are refused before anything is registered", () => {
  const test = () => assert.fail("registered");
  const open = () => assert.fail("opened");
  assert.throws(() => conformance({ test } as never), TypeError);
  assert.throws(() => conformance({ test, open, supports: { modes: "lease" } as never }), /want mode or expiredRows/);
});

test("conformance: a backend of another mode than `supports` says is refused", async () => {
  const wrong = runCase("getLock acquires a name once (test_getlock_clean)", (real) => real, { mode: "session" });
  await assert.rejects(wrong, /the backend's mode is "lease"/);
});
