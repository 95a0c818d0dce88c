import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { chmod, writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "../harness.ts";
import { isAlive, Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid")];
/** Where the mode does not matter. */
const leases = targets.filter(({ mode }) => mode === "lease");

/** Shell text that says its process id and waits for a signal that it does not heed. */
const DEAF = "trap '' TERM; echo started $$; while :; do sleep 0.05; done";

onEach(targets, "run holds the lock while its command runs, and releases it afterwards", async (place) => {
  const running = place.start(["run", "job", "--locked-by", "host-a", "--", "sh", "-c", "echo started; cat"]);
  await running.says(/started/);
  const [lock] = await place.json(["list"]);
  assert.equal(lock.name, "job");
  assert.equal(lock.lockedBy, "host-a");
  assert(lock.lockProcess > 0 && lock.expiresIn <= 60);
  running.process.stdin.end("input\n");
  const { code, stdout } = await running.ended;
  assert.equal(code, 0);
  assert.equal(stdout, "started\ninput\n", "stdin and stdout are the command's");
  assert.deepEqual(await place.json(["list"]), []);
});

onEach(leases, "run gives the command the lock's name and fencing token", async (place) => {
  const tokens: bigint[] = [];
  for (let round = 0; round < 2; round++) {
    const { stdout } = await place.run(
      ["run", "a 'b' ü", "--", "sh", "-c", 'echo "$LOCKMGR_NAME|$LOCKMGR_TOKEN|$MORE"'],
      "",
      {
        MORE: "inherited",
      },
    );
    const [name, token, more] = stdout.trim().split("|");
    assert.deepEqual([name, more], ["a 'b' ü", "inherited"]);
    tokens.push(BigInt(token));
  }
  assert(tokens[1] > tokens[0]);
});

test("run passes on the command's exit code, 128+N after a signal, 127 and 126 when it cannot start", async () => {
  await using place = await Place.make();
  const file = `${place.directory}/script`;
  await writeFile(file, "#!/bin/sh\n");
  await chmod(file, 0o644);
  const cases: [words: string[], code: number][] = [
    [["sh", "-c", "exit 7"], 7],
    [["sh", "-c", "kill -TERM $$"], 143],
    [["sh", "-c", "kill -KILL $$"], 137],
    [["no-such-command-here"], 127],
    [["./missing"], 127],
    [["./script"], 126],
    [["/tmp"], 126],
  ];
  for (const [words, code] of cases) {
    const ended = await place.run(["run", "job", "-n", "--", ...words]);
    assert.equal(ended.code, code, `${words}: ${ended.stderr}`);
    assert.deepEqual(await place.json(["list"]), [], `${words}: released`);
  }
});

test("run takes its flags before or after the name, and needs no -- before a plain command", async () => {
  await using place = await Place.make();
  for (
    const args of [
      ["-n", "job", "--", "echo", "-n", "--json"],
      ["job", "-n", "--", "echo", "-n", "--json"],
      ["job", "-n", "-w", "--", "echo"],
      ["-n", "job", "echo", "-n", "--json"],
      ["job", "--lease", "5", "echo", "-n", "--json"],
    ]
  ) {
    const { code, stdout } = await place.run(["run", ...args]);
    if (args.includes("-w")) assert.equal(code, 64); // its value is not a number
    else assert.deepEqual([code, stdout], [0, "--json"], args.join(" "));
  }
});

test("run --shell takes a line for the shell, as flock -c does", async () => {
  await using place = await Place.make();
  for (
    const args of [["run", "job", "--shell", "--", "cat | tr a-z A-Z; exit 4"], [
      "run",
      "job",
      "-c",
      "cat | tr a-z A-Z; exit 4",
    ]]
  ) {
    const { code, stdout } = await place.run(args, "loud");
    assert.deepEqual([code, stdout], [4, "LOUD"]);
  }
});

onEach(leases, "run -n does not wait, run -w waits so long, and -E chooses the exit code", async (place) => {
  await place.run(["set_lock", "job", "--locked-by", "host-a"]);
  const command = ["--", "echo", "ran"];
  const busy = await place.run(["run", "job", "-n", ...command]);
  assert.deepEqual([busy.code, busy.stdout], [2, ""]);
  assert.match(busy.stderr, /Cannot acquire lock "job": held by "host-a"/);
  const expected = await place.run(["run", "job", "-n", "-E", "0", ...command]);
  assert.deepEqual([expected.code, expected.stdout, expected.stderr], [0, "", ""], "as flock does, for cron");
  const waited = await place.run(["run", "job", "-w", "0.2", "-E", "75", ...command]);
  assert.equal(waited.code, 75);
  assert.match(waited.stderr, /within 0.2 s/);
  const json = JSON.parse((await place.run(["run", "job", "-n", "--json", ...command])).stderr.split("\n").at(-2)!);
  assert.equal(json.error.code, "LOCKED");
});

test("a line for flock does the same with lockmgr run in its place", async () => {
  await using place = await Place.make();
  const holding = place.start(["run", "busy", "--", "cat"]);
  const flock = (args: readonly string[]) => {
    const { status, stdout } = spawnSync("flock", args, { encoding: "utf8", cwd: place.directory });
    return [status, stdout];
  };
  const locked = spawn("flock", ["busy", "cat"], { cwd: place.directory, stdio: ["pipe", "ignore", "ignore"] });
  while (spawnSync("flock", ["-n", "busy", "true"], { cwd: place.directory }).status === 0);
  while ((await place.json(["list"])).length === 0);
  const lines: readonly (readonly string[])[] = [
    ["free", "sh", "-c", "echo $0; exit 7", "word"],
    ["-n", "free", "-c", "echo a | tr a b"],
    ["free", "sh", "-c", "kill -TERM $$"],
    ["-n", "-E", "0", "busy", "echo", "ran"],
    ["-w", "0.1", "-E", "9", "busy", "echo", "ran"],
    ["--nb", "-x", "-o", "-E", "5", "busy", "echo", "ran"],
    ["--nonblock", "--exclusive", "--close", "--conflict-exit-code", "6", "busy", "--command", "echo ran"],
    ["--wrong", "free", "true"],
    ["-w", "soon", "free", "true"],
  ];
  for (const line of lines) {
    const { code, stdout } = await place.run(["run", ...line]);
    assert.deepEqual([code, stdout], flock(line), line.join(" "));
  }
  locked.stdin.end();
  holding.process.stdin.end();
});

test("run waits until the lock is free unless told otherwise", async () => {
  await using place = await Place.make();
  const first = place.start(["run", "job", "--", "sh", "-c", "echo first; cat"]);
  await first.says(/first/);
  const second = place.start(["run", "job", "--", "echo", "second"]);
  first.process.stdin.end();
  assert.equal((await first.ended).code, 0);
  assert.deepEqual(await second.ended, { code: 0, signal: null, stdout: "second\n", stderr: "" });
});

test("run renews the lease for as long as the command runs", async () => {
  await using place = await Place.make();
  const running = place.start(["run", "job", "-t", "1.5", "--", "sh", "-c", "echo started; cat"]);
  await running.says(/started/);
  const [{ updatedAt, token }] = await place.json(["list"]);
  for (let since = 0; since < 3_000;) { // two leases
    const [lock] = await place.json(["list"]);
    assert.equal(lock?.token, token, `lost in ${since} ms`);
    since = Date.parse(lock.updatedAt) - Date.parse(updatedAt);
  }
  running.process.stdin.end();
  assert.equal((await running.ended).code, 0);
});

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
    await waitUntilListening(running.process.pid!);
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

onEach(leases, "run kills a command that does not heed SIGTERM when the grace is over", async (place, target) => {
  const running = place.start(["run", "job", "-t", target.lease, "--grace", "0.5", "--", "sh", "-c", DEAF]);
  const [, leader] = await running.says(/started (\d+)/);
  await place.run(["clear_lock", "job"]);
  await running.says(/Lost lock/);
  const lostAt = performance.now();
  assert.equal((await running.ended).code, 3);
  assert(performance.now() - lostAt > 400, "the grace was kept");
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
  const running = place.start(["run", "job", "-t", "1.5", "--", "sh", "-c", script]);
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

/** Resolves once the program hears signals itself: Linux tells which ones it catches, and SIGUSR2 is among the last. */
async function waitUntilListening(pid: number): Promise<void> {
  const { readFile } = process.getBuiltinModule("node:fs/promises");
  const SIGUSR2 = 1n << 11n;
  for (;;) {
    const caught = /^SigCgt:\s*([0-9a-f]+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))![1];
    if (BigInt(`0x${caught}`) & SIGUSR2) return;
  }
}

/** Resolves once a process is in a state, as Linux abbreviates it. */
async function untilState(pid: number, state: RegExp): Promise<void> {
  const { readFile } = process.getBuiltinModule("node:fs/promises");
  while (!state.test(/\) (\S) /.exec(await readFile(`/proc/${pid}/stat`, "utf8"))![1]));
}
