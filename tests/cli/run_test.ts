import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmod, writeFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { Place } from "./program.ts";
import { onEach, postgresWith, sqlite } from "./targets.ts";

const targets = [sqlite, ...await postgresWith("lease", "hybrid")];
/** Where the mode does not matter. */
const leases = targets.filter(({ mode }) => mode === "lease");

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

onEach([sqlite], "run --shared and --limit hold a lock beside others", async (place) => {
  for (const [name, flags, limit] of [["read", ["-s"], null], ["slots", ["--limit", "2"], 2]] as const) {
    const running = ["one", "two"].map(() => place.start(["run", name, ...flags, "--", "sh", "-c", "echo on; cat"]));
    for (const each of running) await each.says(/on/);
    const held = await place.json(["list"]);
    assert.deepEqual(held.map((lock: { limit: number | null }) => lock.limit), [limit, limit]);
    const more = limit === null ? ["run", name, "-n"] : ["run", name, "-n", ...flags];
    assert.equal((await place.run([...more, "--", "true"])).code, 2);
    for (const each of running) each.process.stdin.end();
    for (const each of running) assert.equal((await each.ended).code, 0);
  }
  for (const flags of [["-s", "--limit", "2"], ["--limit", "0"], ["--limit", "1.5"]]) {
    assert.equal((await place.run(["run", "job", ...flags, "--", "true"])).code, 64, String(flags));
  }
});

onEach([sqlite], "run --hold-at-least keeps the name after its command, held by nobody", async (place) => {
  const words = ["run", "job", "-n", "--hold-at-least", "60", "--", "echo", "fired"];
  assert.equal((await place.run(words)).stdout, "fired\n");
  const again = await place.run(words);
  assert.deepEqual([again.code, again.stdout], [2, ""]);
  assert.match(again.stderr, /kept until \S+ after its release/);
  assert.match((await place.run(["list"])).stdout, /'job'.* held until \S+ by nobody/);
  assert.match((await place.run(["show", "job"])).stdout, /Holder +none: released before its least time/);
  assert.equal((await place.run(["clear", "job"])).code, 0);
  assert.equal((await place.run(words)).stdout, "fired\n");
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
  await once(locked, "close");
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
  const running = place.start(["run", "job", "-t", "4", "--", "sh", "-c", "echo started; cat"]);
  await running.says(/started/);
  const [{ updatedAt, token }] = await place.json(["list"]);
  for (let since = 0; since < 8_000;) { // two leases
    const [lock] = await place.json(["list"]);
    assert.equal(lock?.token, token, `lost in ${since} ms`);
    since = Date.parse(lock.updatedAt) - Date.parse(updatedAt);
  }
  running.process.stdin.end();
  assert.equal((await running.ended).code, 0);
});
