/** The suite against backends that break one promise each. */
import { type Backend, connect } from "@lockmgr/lockmgr";
import { conformance, type Supports } from "@lockmgr/lockmgr/conformance";
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "../harness.ts";
import {
  admitsReadersToWriter,
  extendsWhenRefused,
  keepsTimeOfUpdate,
  leavesOneBehind,
  leavesWaitersBehind,
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

const sound = (real: Backend) => real;

const BROKEN: readonly (readonly [promise: string, breakIt: (real: Backend) => Backend])[] = [
  ["a stale handle neither releases nor renews the next holder's lock", releasesForStrangers],
  ["by handle create acquires the name again, or throws Locked", renewsForStrangers],
  ["names are listed in the order of their code points", listsByUnits],
  ["updatedAt is the time of the last renewal, createdAt that of the grant", keepsTimeOfUpdate],
  ["allOrNothing: a refused request changes nothing of what its owner holds", extendsWhenRefused],
  ["allOrNothing: a busy name leaves the others free, wherever it is in the list", leavesOneBehind],
  ["shared locks admit each other, and exclude an exclusive one", admitsReadersToWriter],
  ["a waiter that gives up leaves the queue", leavesWaitersBehind],
];

for (const [promise, breakIt] of BROKEN) {
  test(`conformance: a backend that breaks "${promise}" is told so`, async () => {
    await assert.rejects(runCase(promise, breakIt), (error: Error) => {
      assert(error.message.startsWith(`Cannot keep the promise "${promise}": `), error.message);
      assert(error.cause instanceof Error);
      return true;
    });
    await runCase(promise, sound);
  });
}

test("conformance: options that are missing or misspelt are refused before anything is registered", () => {
  const test = () => assert.fail("registered");
  const open = () => assert.fail("opened");
  assert.throws(() => conformance({ test } as never), TypeError);
  assert.throws(
    () => conformance({ test, open, supports: { modes: "lease" } as never }),
    /want mode, expiredRows, queueing, keeping, adopting, not "modes"/,
  );
});

test("conformance: a backend of another mode or queue than `supports` says is refused", async () => {
  const runWith = (supports: Supports) => runCase("getLock acquires a name once (test_getlock_clean)", sound, supports);
  await assert.rejects(runWith({ mode: "session" }), /the backend's mode is "lease"/);
  await assert.rejects(runWith({ queueing: false }), /the backend's queueing is true, `supports` has false/);
  await runWith({ queueing: true });
});

test("conformance: there are no cases about what `supports` denies", () => {
  const namesWith = (supports?: Supports) => {
    const names: string[] = [];
    conformance({ test: (name) => names.push(name), open: () => assert.fail("opened"), supports });
    return names;
  };
  const all = namesWith();
  assert.deepEqual(namesWith({ queueing: true, keeping: true, adopting: true }), all);
  for (const capability of ["queueing", "keeping", "adopting"]) {
    const without = new Set(namesWith({ [capability]: false }));
    assert(all.filter((name) => !without.has(name)).length > 1, capability);
  }
});
