import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "../harness.ts";
import { isAlive, Place, untilListening } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid")];
/** Where the mode does not matter. */
const leases = targets.filter(({ mode }) => mode === "lease");

/** Shell text that says its process id and waits for a signal that it does not heed. */
const DEAF = "trap '' TERM; echo started $$; while :; do sleep 0.05; done";

onEach(leases, "run hands signals on to the command, which may end as it likes", async (place) => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const) {
    const script = `trap 'echo got; exit 5' ${signal.slice(3)}; echo started; while :; do sleep 0.05; done`;
    const running = place.start(["run", "job", "-n", "--", "sh", "-c", script]);
    await running.says(/started/);
    running.kill(signal);
    const { code, stdout } = await running.ended;
    assert.deepEqual([code, stdout], [5, "started\ngot\n"], signal);
    assert.deepEqual(await place.json(["list"]), [], signal);
  }
});

onEach(targets, "run told to stop leaves nothing of the command behind, not even what it started", async (place) => {
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    const running = place.start(["run", "job", "-n", "--", "bash", "-c", "sleep 60 & echo started $$ $!; wait"]);
    const [, leader, started] = await running.says(/started (\d+) (\d+)/);
    running.kill(signal);
    assert.equal((await running.ended).code, code, signal);
    assert.equal(isAlive(Number(leader)), false, signal);
    assert.equal(isAlive(Number(started)), false, signal);
    assert.deepEqual(await place.json(["list"]), [], signal);
  }
});

onEach(targets, "run told to stop while it waits exits with 128+N and nothing held", async (place) => {
  await place.run(["set_lock", "job"]);
  for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143], ["SIGHUP", 129]] as const) {
    const running = place.start(["run", "job", "--", "echo", "ran"]);
    await untilListening(running.process.pid!, "SIGUSR2");
    running.kill(signal);
    const ended = await running.ended;
    assert.deepEqual([ended.code, ended.stdout], [code, ""], ended.stderr);
  }
  assert.deepEqual(await place.json(["clear", "job"]), [{ name: "job", removed: true }]);
  assert.deepEqual(await place.json(["list"]), []);
});

onEach(targets, "run ends its command when the lock is lost, and exits with 3", async (place, target) => {
  const running = place.start([
    "run",
    "job",
    "-t",
    target.lease,
    "--",
    "bash",
    "-c",
    "sleep 60 & echo started $$ $!; wait",
  ]);
  const [, leader, started] = await running.says(/started (\d+) (\d+)/);
  await place.run(["clear_lock", "job"]);
  const { code, stderr } = await running.ended;
  assert.equal(code, 3);
  assert.match(stderr, /Lost lock "job"/);
  assert.match(stderr, /Cannot keep lock "job": the database says that it is gone/);
  assert.equal(isAlive(Number(leader)), false);
  assert.equal(isAlive(Number(started)), false);
});

test("run ends its command when the database file was removed, while another client has the name in a new file", async () => {
  await using place = await Place.make();
  const running = place.start(["run", "job", "-t", "600", "--", "bash", "-c", "sleep 60 & echo started $!; wait"]);
  const [, started] = await running.says(/started (\d+)/);
  for (const file of ["locks.db", "locks.db-wal", "locks.db-shm"]) await rm(join(place.directory, file));
  const removedAt = performance.now();
  const other = await place.run(["run", "job", "-n", "--", "echo", "too"]);
  assert.deepEqual([other.code, other.stdout], [0, "too\n"]);
  const { code, stderr } = await running.ended;
  assert.equal(code, 3);
  assert.match(stderr, /Cannot keep lock "job": .*locks\.db/);
  assert.equal(isAlive(Number(started)), false);
  assert(performance.now() - removedAt < 60_000, "long before a renewal could find out");
});

onEach(leases, "run kills a command that does not heed SIGTERM when the grace is over", async (place, target) => {
  const running = place.start(["run", "job", "-t", target.lease, "--grace", "2.5", "--", "sh", "-c", DEAF]);
  const [, leader] = await running.says(/started (\d+)/);
  await place.run(["clear_lock", "job"]);
  await running.says(/Lost lock/);
  const lostAt = performance.now();
  assert.equal((await running.ended).code, 3);
  assert(performance.now() - lostAt > 1_500, "the grace was kept");
  assert.equal(isAlive(Number(leader)), false);
});

onEach(leases, "run lets a command clean up within the grace", async (place, target) => {
  const script = "trap 'sleep 0.3; echo cleaned; exit 0' TERM; echo started; while :; do sleep 0.05; done";
  const running = place.start(["run", "job", "-t", target.lease, "--", "sh", "-c", script]);
  await running.says(/started/);
  await place.run(["clear_lock", "job"]);
  const { code, stdout } = await running.ended;
  assert.deepEqual([code, stdout], [3, "started\ncleaned\n"]);
});

onEach(targets, "run exits with 3 when the lock was lost although the command ended well", async (place) => {
  const running = place.start(["run", "job", "-t", "60", "--", "sh", "-c", "echo started; cat"]);
  await running.says(/started/);
  await place.run(["clear_lock", "job"]);
  await place.run(["set_lock", "job", "--locked-by", "thief"]);
  running.process.stdin.end();
  assert.equal((await running.ended).code, 3);
  assert.equal((await place.json(["list"]))[0].lockedBy, "thief", "the other's lock is left alone");
});
