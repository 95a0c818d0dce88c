import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { isAlive, Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid", "session")];

const WORK = ["sh", "-c", 'trap "exit 0" TERM; echo "leads under $LOCKMGR_TOKEN as $$"; while :; do sleep 0.05; done'];

/** The token and the process of the command that runs. */
function leading(said: RegExpMatchArray): { token: bigint; pid: number } {
  return { token: BigInt(said[1]), pid: Number(said[2]) };
}

onEach(targets, "lead runs the command on one host, and on the next as soon as that one ends", async (place) => {
  const first = place.start(["lead", "job", "--", ...WORK]);
  const before = leading(await first.says(/leads under (\d+) as (\d+)/));
  const second = place.start(["lead", "job", "--", ...WORK]);
  first.kill("SIGTERM");
  assert.equal((await first.ended).code, 0, "the code of the command");
  const after = leading(await second.says(/leads under (\d+) as (\d+)/));
  assert(after.token > before.token && !isAlive(before.pid));
  second.kill("SIGTERM");
  assert.equal((await second.ended).code, 0);
});

onEach(
  targets.filter(({ mode }) => mode !== "session"),
  "lead starts the command again after a loss",
  async (place) => {
    const running = place.start(["lead", "job", "-t", "3", "--", ...WORK]);
    const before = leading(await running.says(/leads under (\d+) as (\d+)/));
    assert.equal((await place.run(["clear_lock", "job"])).code, 0);
    const after = leading(await running.says(/leads under \d+ as \d+[^]*leads under (\d+) as (\d+)/));
    assert(after.token > before.token && !isAlive(before.pid));
    assert.match(running.stderr, /Lost lock "job": ending "sh"[^]*waiting to lead again/);
    process.kill(after.pid, "SIGTERM");
    assert.equal((await running.ended).code, 0, "it ends with its command");
    assert.deepEqual(await place.json(["list"]), []);
  },
);

test("lead ends with the command's exit code, and by a signal while it waits", async () => {
  await using place = await Place.make();
  assert.equal((await place.run(["lead", "job", "--", "sh", "-c", "exit 7"])).code, 7);
  assert.equal((await place.run(["lead", "job", "--", "no-such-command-here"])).code, 127);
  const usage = await place.run(["lead", "job"]);
  assert.deepEqual([usage.code, /want "lockmgr lead NAME -- COMMAND"/.test(usage.stderr)], [64, true]);
  await place.run(["set_lock", "job"]);
  const waiting = place.onTerminal(["lead", "job", "--", "echo", "ran"]);
  await waiting.says(/Waiting for lock "job"/);
  waiting.process.stdin.write("\x03");
  const { code, stdout } = await waiting.ended;
  assert.equal(code, 130);
  assert.doesNotMatch(stdout, /^ran/m);
});
