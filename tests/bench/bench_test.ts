import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type Held, lapFairness, mostAtOnce } from "../../bench/crowds.ts";
import { fairness, quartiles, timeRatio } from "../../bench/statistics.ts";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";

test("bench: a page with figures, plots and targets comes of every measured subject, here on SQLite", async () => {
  const out = await mkdtemp(join(tmpdir(), "lockmgr-bench-test-"));
  try {
    const words = ["pairs", "256 callers", "hand-off", "shared", "wait", "race", "rows", "cold start", "counters"];
    const options = ["--quick", "--engines=sqlite", `--out=${out}`];
    const measuring = ["run", "-A", "--no-check", "bench/run.ts"];
    const { code, output } = await command(process.execPath, [...measuring, ...options, ...words]);
    assert.equal(code, 0, output);
    const page = await readFile(join(out, "performance.md"), "utf8");
    const chapters = [
      "Targets",
      "One caller",
      "Shared and counted",
      "100 processes",
      "Ten thousand waiters",
      "Many rows",
    ];
    for (const chapter of chapters) {
      assert.match(page, new RegExp(`## ${chapter}`));
    }
    assert.match(page, /SQLite lease, deadlocks, lost releases[^|]*\| <= 0 +\| 0 +\| yes/);
    assert.match(page, /SQLite lease, bytes of log that a failed try writes +\| <= 0 +\| 0 +\| yes/);
    assert.match(page, /SQLite lease, readers beside a writer +\| <= 0 +\| 0 +\| yes/);
    assert.match(page, /SQLite lease, holders of a name limited to 3 +\| <= 3 +\| [0-3] +\| yes/);
    assert(!/undefined|NaN|Infinity/.test(page), page);
    const plots = (await readdir(join(out, "performance"))).filter((name) => name.endsWith(".svg"));
    const shown = new Set(page.matchAll(/performance\/([\w-]+\.svg)/g).map(([, name]) => name));
    assert.deepEqual(plots.sort(), [...shown].sort());
    for (const plot of plots) {
      assert(!/NaN|undefined/.test(await readFile(join(out, "performance", plot), "utf8")), plot);
    }
    assert.equal((await command(process.execPath, [...measuring, "--again", `--out=${out}`])).code, 0);
    assert.equal(await readFile(join(out, "performance.md"), "utf8"), page);
  } finally {
    await rm(out, { recursive: true });
  }
});

test("bench: quartiles, fairness, and ratios of times that the kernel makes fickle", () => {
  assert.deepEqual(quartiles([5, 1, 4, 2, 3]), { lower: 2, median: 3, upper: 4 });
  assert.equal(fairness([3, 3, 3]), 1);
  assert.equal(fairness([1, 0, 0, 0]), 0.25);
  const [fast, slow] = [{ lower: 50, median: 100, upper: 200 }, { lower: 100, median: 600, upper: 700 }];
  assert.equal(timeRatio(slow, fast), 2); // by lower quartiles
  assert.equal(timeRatio(slow, { ...fast, median: 200 }), 3); // by medians
});

test("bench: Jain's index is that of whole laps after the first, so that turns taken in order give 1", () => {
  const hold = (process: number): Held => [process, 0, 0, 0, 0, 0];
  const inOrder = [0, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1].map(hold); // an uneven start, and a last lap cut off
  assert.equal(lapFairness(inOrder, 3), 1);
  assert.equal(lapFairness([0, 1, 2, 0, 0, 0].map(hold), 3), 1 / 3);
  assert(Number.isNaN(lapFairness([0, 1, 2, 0].map(hold), 3)));
});

test("bench: the most holds at one instant; one may begin when another ends", () => {
  const hold = (from: number, until: number): Held => [0, 0, from, until, until, from];
  assert.equal(mostAtOnce([hold(0, 10), hold(5, 20), hold(10, 30), hold(30, 40)]), 2);
});
