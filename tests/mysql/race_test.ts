import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { start } from "../processes/spawn.ts";
import { onEach } from "./flavors.ts";

/** How long the processes race (s); the thorough run takes 60. */
const SECONDS = process.env.LOCKMGR_RACE_SECONDS ?? "3";

/** Levels that connections begin with: a pool of the caller's keeps them. */
const WAYS = {
  "READ COMMITTED": ["hybrid", "pool"],
  "REPEATABLE READ": ["lease", "pool"],
};

for (const [isolation, ways] of Object.entries(WAYS)) {
  for (const how of ways) {
    onEach(
      `${how} at ${isolation}: four processes with random sets of names never meet, and never see a deadlock`,
      async ({ url, ask }) => {
        await ask(`SET GLOBAL TRANSACTION ISOLATION LEVEL ${isolation}`);
        const directory = await mkdtemp(join(tmpdir(), "lockmgr-race-"));
        const racers = Array.from({ length: 4 }, () => start("tests/mysql/racer.ts", [url, how, directory, SECONDS]));
        try {
          for (const racer of racers) {
            const said = await racer.next<Record<string, number>>();
            assert.deepEqual({ ...said, sets: 0, busy: 0 }, {
              sets: 0,
              busy: 0,
              overlaps: 0,
              tokens: 0,
              lost: 0,
              errors: [],
            });
            assert(said.sets >= 2, `a racer took only ${said.sets} sets`);
            assert.equal(await racer.ended, 0);
          }
          const [{ held }] = await ask("SELECT COUNT(*) AS held FROM lockmgr_locks WHERE NOT locked_until <=> 0");
          assert.equal(Number(held), 0);
        } finally {
          for (const racer of racers) await racer[Symbol.asyncDispose]();
          await rm(directory, { recursive: true });
        }
      },
    );
  }
}
