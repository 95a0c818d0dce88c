import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { isAlive, Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid")];
/** Where the mode does not matter. */
const leases = targets.filter(({ mode }) => mode === "lease");

onEach(targets, "Ctrl-C on a terminal reaches the command, and the lock is released", async (place) => {
  const script = "trap 'echo caught; exit 6' INT; echo started; while :; do sleep 0.05; done";
  const running = place.onTerminal(["run", "job", "--", "sh", "-c", script]);
  await running.says(/started/);
  running.process.stdin.write("\x03");
  const { code, stdout } = await running.ended;
  assert.equal(code, 6);
  assert.match(stdout, /caught/);
  assert.deepEqual(await place.json(["list"]), []);
});

test("run's command can read from the terminal", async () => {
  await using place = await Place.make();
  const running = place.onTerminal(["run", "job", "--", "sh", "-c", 'echo ready; read line; echo "read <$line>"']);
  await running.says(/ready/);
  running.process.stdin.write("typed\r");
  await running.says(/read <typed>/);
  assert.equal((await running.ended).code, 0);
});

onEach(
  targets,
  "a run that is killed outright leaves a lock that lapses, or in hybrid mode none",
  async (place, target) => {
    const lease = target.mode === "hybrid" ? "60" : "1";
    const running = place.start(["run", "job", "-t", lease, "--", "sh", "-c", "echo started $$; exec cat"]);
    const [, pid] = await running.says(/started (\d+)/);
    running.kill("SIGKILL");
    const next = await place.run(["run", "job", "-w", "10", "--", "echo", "next"]);
    assert.deepEqual([next.code, next.stdout], [0, "next\n"]);
    running.process.stdin.end();
    if (isAlive(Number(pid))) process.kill(Number(pid));
  },
);

test("Ctrl-Z stops the command too, and both go on together", async () => {
  await using place = await Place.make();
  // One process: a shell that is stopped while it starts another shows as waiting for it, not as stopped.
  const running = place.start(["run", "job", "--", "sh", "-c", "echo started $$; exec sleep 1000"]);
  const [, pid] = await running.says(/started (\d+)/);
  running.kill("SIGTSTP");
  await untilState(Number(pid), /T/);
  await untilState(running.process.pid!, /T/);
  running.kill("SIGCONT");
  await untilState(Number(pid), /[SR]/);
  running.kill("SIGTERM");
  assert.equal((await running.ended).code, 143);
});

test("a command that was stopped for longer than its lease is not let go on as the holder", async () => {
  await using place = await Place.make();
  const script = "trap 'echo went on' CONT; echo started $$; while :; do :; done";
  const running = place.start(["run", "job", "-t", "3", "--", "sh", "-c", script]);
  const [, pid] = await running.says(/started (\d+)/);
  running.kill("SIGTSTP");
  await untilState(running.process.pid!, /T/);
  assert.equal((await place.run(["run", "job", "-w", "10", "--", "echo", "mine"])).stdout, "mine\n");
  running.kill("SIGCONT");
  const { code, stdout } = await running.ended;
  assert.equal(code, 3);
  assert.doesNotMatch(stdout, /went on/);
  assert.equal(isAlive(Number(pid)), false);
});

test("run --foreground leaves the command the terminal", async () => {
  await using place = await Place.make();
  const script = 'exec < /dev/tty; echo ready; read line; echo "read <$line>"';
  const running = place.onTerminal(["run", "job", "--foreground", "--", "sh", "-c", script]);
  await running.says(/ready/);
  running.process.stdin.write("typed\r");
  await running.says(/read <typed>/);
  assert.equal((await running.ended).code, 0);
  const killed = place.start(["run", "job", "--foreground", "--", "sh", "-c", "echo started; exec sleep 60"]);
  await killed.says(/started/);
  killed.kill("SIGTERM");
  assert.equal((await killed.ended).code, 143);
});

onEach(leases, "a person at a terminal is told what a long wait is for", async (place) => {
  await place.run(["set_lock", "job", "--locked-by", "host-a"]);
  for (const args of [["run", "job", "--", "true"], ["wait", "job"]]) {
    const waiting = place.onTerminal(args);
    await waiting.says(/Waiting for lock "job": <Lock name='job' locked_by='host-a'/);
    waiting.process.stdin.write("\x03");
    assert.equal((await waiting.ended).code, 130);
  }
});

/** Resolves once a process is in a state, as Linux abbreviates it. */
async function untilState(pid: number, state: RegExp): Promise<void> {
  const { readFile } = process.getBuiltinModule("node:fs/promises");
  while (!state.test(/\) (\S) /.exec(await readFile(`/proc/${pid}/stat`, "utf8"))![1]));
}
