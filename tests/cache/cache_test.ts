import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { start } from "../processes/spawn.ts";
import { cached } from "./cache.ts";

test("cache: a directory is there as a whole or not at all, and one process at a time fills it", async () => {
  const cache = await mkdtemp(join(tmpdir(), "lockmgr-cache-"));
  const target = join(cache, "programs");
  const fill = (content: string) => start("tests/cache/filler.ts", [cache, content]);
  const killed = fill("killed");
  assert.equal(await killed.next(), "begun");
  const others = [fill("one"), fill("another")];
  killed.child.kill("SIGKILL");
  await killed.ended;
  assert.equal((await readdir(cache)).includes("programs"), false);
  const [first, second] = others.map(async (worker) => ({ worker, said: await worker.next() }));
  const { worker: faster, said } = await Promise.race([first, second]);
  assert.equal(said, "begun");
  faster.tell("go on");
  assert.equal(await faster.next(), target);
  const slower = await (faster === others[0] ? second : first);
  assert.equal(slower.said, target, "it has nothing to fill");
  const contents = await Promise.all(["first", "second"].map((file) => readFile(join(target, file), "utf8")));
  assert.equal(contents[0], contents[1]);
  const left = (await readdir(cache)).filter((name) => name !== "programs");
  assert.equal(left.length, 1, `only the draft of the killed process: ${left}`);
  for (const worker of [killed, ...others]) await worker[Symbol.asyncDispose]();
  await rm(cache, { recursive: true });
});

test("cache: a directory that is too old is made again, or used if that fails", async () => {
  const before = process.env.LOCKMGR_TEST_CACHE;
  const cache = process.env.LOCKMGR_TEST_CACHE = await mkdtemp(join(tmpdir(), "lockmgr-cache-"));
  try {
    const fill = (content: string) => (directory: string) => writeFile(join(directory, "file"), content);
    const contentOf = async (directory: string) => await readFile(join(directory, "file"), "utf8");
    const fail = () => Promise.reject(new Error("no network"));
    await assert.rejects(cached("a", fail), /no network/);
    assert.equal(await contentOf(await cached("a", fill("old"))), "old");
    assert.equal(await contentOf(await cached("a", fill("new"))), "old");
    assert.equal(await contentOf(await cached("a", fail, 0)), "old");
    assert.equal(await contentOf(await cached("a", fill("new"), 0)), "new");
    assert.deepEqual(await readdir(cache), ["a"]);
  } finally {
    if (before === undefined) delete process.env.LOCKMGR_TEST_CACHE;
    else process.env.LOCKMGR_TEST_CACHE = before;
    await rm(cache, { recursive: true });
  }
});
