/**
 * Every fault for a moment, in every engine and mode: `deno task soak` does it for longer. `LOCKMGR_SEED` repeats a
 * run's choices.
 */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import process from "node:process";
import { skip, test } from "../harness.ts";
import { report } from "../history/checker.ts";
import { engines } from "./arenas.ts";
import { concerns, faults } from "./faults.ts";
import { mayMount } from "./small_disk.ts";
import { trial } from "./trial.ts";

/** How long each fault is tried. */
const SECONDS = 2;

const seed = Number(process.env.LOCKMGR_SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`LOCKMGR_SEED=${seed}`);
const disks = await mayMount();
/** SQLite unless said otherwise, as in `LOCKMGR_TEST_ENGINES=sqlite,postgres`: the servers take five minutes. */
const chosen = process.env.LOCKMGR_TEST_ENGINES?.split(",") ?? ["sqlite"];
const arenas = (await Promise.all(chosen.map((engine) => engines[engine]()))).flat();

for (const arena of arenas) {
  for (const fault of faults.filter((fault) => concerns(fault, arena))) {
    const name = `faults: ${arena.name}: ${fault.name}`;
    if (fault.needs === "disk" && !disks) {
      skip(name, "only root may mount a disk that can be filled");
      continue;
    }
    test(name, async () => {
      const { verdict, breakages, strikes, kept } = await trial(arena, [fault], { seed, seconds: SECONDS });
      const story = `LOCKMGR_SEED=${seed}, history in ${kept}\n${breakages.join("\n")}\n${report(verdict)}`;
      console.log(`${name}: ${strikes} strikes, ${report(verdict)}`);
      assert(kept === undefined, story);
      assert(verdict.seen.holds > 0, `nothing was held\n${story}`);
      assert(fault.strike === undefined || strikes > 0, "nothing went wrong");
    });
  }
}

test("faults: every backend is tried", async () => {
  const folders = await readdir(new URL("../../backends/", import.meta.url));
  assert.deepEqual(Object.keys(engines).sort(), folders.sort());
});
