/**
 * What a lock costs on SQLite: an uncontended acquire and release against two bare durable upserts through the same
 * driver, both in write-ahead mode on the same disk, in turns. The ratio shall be 1.3 at most.
 *
 * `deno task bench:sqlite` measures in the temporary directory, `deno task bench:sqlite /mnt/disk` on another disk.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { connect, getLock } from "../mod.ts";
import { inTurns, report } from "./rounds.ts";

const LIMIT = 1.3;

const directory = await mkdtemp(`${process.argv[2] ?? tmpdir()}/lockmgr-bench-`);
try {
  const bare = new DatabaseSync(`${directory}/bare.db`);
  bare.exec(`
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE pairs (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL);
  `);
  const upsert = bare.prepare(`
    INSERT INTO pairs (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
  `);
  await using backend = await connect(`${directory}/locks.db`);
  let value = 0;
  const taken = await inTurns({
    upserts: () => {
      upsert.run("jobs", ++value);
      upsert.run("jobs", ++value);
    },
    pair: async () => {
      const lock = await getLock("jobs", { backend });
      await lock.unlock();
    },
  }, { rounds: 400, times: 5, warmUp: 100 });
  bare.close();

  const ratios = taken.pair.map((pair, round) => pair / taken.upserts[round]);
  report("two bare durable upserts", taken.upserts, "µs", 1e3);
  report("acquire and release", taken.pair, "µs", 1e3);
  report(`ratio, ${LIMIT} at most`, ratios, "");
} finally {
  await rm(directory, { recursive: true });
}
