import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "../harness.ts";
import { start } from "../processes/spawn.ts";

test("what is unpacked is there as a whole or not at all, whichever process is first, killed or faster", async () => {
  const cache = await mkdtemp(join(tmpdir(), "lockmgr-cache-"));
  const target = join(cache, "programs");
  const fill = (content: string) => start("tests/servers/filler.ts", [cache, content]);
  const [killed, faster, slower] = ["killed", "faster", "slower"].map(fill);
  for (const worker of [killed, faster, slower]) assert.equal(await worker.next(), "begun");
  killed.child.kill("SIGKILL");
  await killed.ended;
  assert.equal((await readdir(cache)).includes("programs"), false);
  faster.tell("go on");
  assert.equal(await faster.next(), target);
  slower.tell("go on");
  assert.equal(await slower.next(), target);
  const later = fill("later");
  assert.equal(await later.next(), target); // it has nothing to fill
  for (const file of ["first", "second"]) assert.equal(await readFile(join(target, file), "utf8"), "faster");
  const left = (await readdir(cache)).filter((name) => name !== "programs");
  assert.equal(left.length, 1, "only the draft of the process that was killed");
  for (const worker of [killed, faster, slower, later]) await worker[Symbol.asyncDispose]();
  await rm(cache, { recursive: true });
});
