import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fairness, quartiles, timeRatio } from "../../bench/statistics.ts";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";

test("bench: a page with figures, plots and targets comes of every measured subject, here on SQLite", async () => {
  const out = await mkdtemp(join(tmpdir(), "lockmgr-bench-test-"));
  try {
    const words = ["pairs", "256 callers", "hand-off", "waiting", "race", "rows", "counters"];
    const options = ["--quick", "--engines=sqlite", `--out=${out}`];
    const measuring = ["run", "-A", "--no-check", "bench/run.ts"];
    const { code, output } = await command(process.execPath, [...measuring, ...options, ...words]);
    assert.equal(code, 0, output);
    const page = await readFile(join(out, "performance.md"), "utf8");
    for (const chapter of ["Targets", "One caller", "Many rows", "A race", "100 processes"]) {
      assert.match(page, new RegExp(`## ${chapter}`));
    }
    assert.match(page, /SQLite lease, deadlocks, lost releases[^|]*\| <= 0 +\| 0 +\| yes/);
    assert.match(page, /SQLite lease, bytes of log that a failed try writes +\| <= 0 +\| 0 +\| yes/);
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
