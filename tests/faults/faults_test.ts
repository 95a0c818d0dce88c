/**
 * Every fault in every engine and mode, for a moment: `deno task soak` does it for longer. On a server, where each
 * trial costs seconds, a trial has all of them, one after the other; `LOCKMGR_FAULTS=each` tries each by itself.
 * `LOCKMGR_SEED` repeats a run's choices.
 */
import { BackendError, connect, getLock, type Lock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { skip, test } from "../harness.ts";
import { report } from "../history/checker.ts";
import { engines, type Environment } from "./environments.ts";
import { concerns, type Fault, faults } from "./faults.ts";
import { mayMount } from "./small_disk.ts";
import { trial } from "./trial.ts";

/** How long one fault is tried, and how long all in turn may take at most (s). */
const ALONE = 2;
const IN_TURN = 60;

const seed = Number(process.env.LOCKMGR_SEED ?? Math.floor(Math.random() * 2 ** 31));
const each = process.env.LOCKMGR_FAULTS === "each";
console.log(`LOCKMGR_SEED=${seed}`);
const disks = await mayMount();
const chosen = process.env.LOCKMGR_TEST_ENGINES?.split(",") ?? Object.keys(engines);
const environments: Environment[] = [];
for (const engine of chosen) environments.push(...await engines[engine]());

async function survive(
  name: string,
  environment: Environment,
  chosen: readonly Fault[],
  inTurn: boolean,
): Promise<void> {
  const how = inTurn ? { seconds: IN_TURN, count: 3 } : { seconds: ALONE };
  const { verdict, breakages, strikes, recovered, kept } = await trial(environment, chosen, { seed, inTurn, ...how });
  const story = `LOCKMGR_SEED=${seed}, history in ${kept}\n${breakages.join("\n")}\n${report(verdict)}`;
  console.log(`${name}: ${strikes} strikes, ${report(verdict)}`);
  assert(kept === undefined, story);
  assert(verdict.seen.holds > 0, `nothing was held\n${story}`);
  assert(chosen.every(({ strike }) => strike === undefined) || strikes > 0, "nothing went wrong");
  if (inTurn) assert(recovered > 0, `nothing was held after the faults\n${story}`);
}

/** An error of the database that may pass. */
function passing(error: unknown): boolean {
  assert(error instanceof BackendError, String(error));
  assert.equal(error.retryable, true, error.message);
  return true;
}

for (const environment of environments.filter(({ served }) => served)) {
  test(`faults: ${environment.name}: a server without connections is no lock held by another, and a waiter outlives it`, async () => {
    await using fixture = await environment.open();
    const options = { ...fixture.options, mode: environment.mode };
    await using backend = await connect(fixture.target, options);
    const before = await getLock("before", { backend });
    let waiter: Promise<Lock>;
    {
      await using _ = await fixture.server!.exhaust();
      await assert.rejects(getLock("without waiting", { backend }), passing);
      const another = async () => {
        await using other = await connect(fixture.target, options);
        await getLock("newcomer", { backend: other });
      };
      await assert.rejects(another(), passing);
      waiter = getLock("waiter", { backend, wait: 20 });
    }
    assert((await waiter).held);
    assert.equal(before.held, environment.mode === "lease"); // its connection was ended
  });
}

for (const environment of environments) {
  const possible = faults.filter((fault) => concerns(fault, environment));
  if (environment.served && !each) {
    const once = possible.filter(({ config }) => !config?.diesReleasing); // none would be left
    const name = `faults: ${environment.name}: ${once.length} in turn`;
    test(name, () => survive(name, environment, once, true));
    continue;
  }
  for (const fault of possible) {
    const name = `faults: ${environment.name}: ${fault.name}`;
    if (fault.needs !== "disk" || disks) test(name, () => survive(name, environment, [fault], false));
    else skip(name, "only root may mount a disk that can be filled");
  }
}

test("faults: every backend is tried", async () => {
  if (process.env.LOCKMGR_TEST_ENGINES) return; // by the one who chose
  const folders = await readdir(new URL("../../backends/", import.meta.url));
  const engines = folders.filter((folder) => !["sessions", "shared"].includes(folder)); // what engines share
  assert.deepEqual([...new Set(environments.map(({ engine }) => engine))].sort(), engines.sort());
});
