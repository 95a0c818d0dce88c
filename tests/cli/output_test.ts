import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { test } from "../harness.ts";
import { Place } from "./program.ts";

/** More than any pipe holds. */
const NAMES = Array.from({ length: 500 }, (_, index) => `name ${String(index).padStart(240, "0")}`);

test("a result is written completely to a reader that is slow", async () => {
  await using place = await Place.make();
  await place.run(["set_lock", ...NAMES]);
  for (const args of [["list_locks", "--json"], ["list_locks"]]) {
    const late = place.inShell('"$@" | { sleep 0.5; cat; }; exit ${PIPESTATUS[0]}', args);
    const { code, stdout, stderr } = await late.ended;
    assert.deepEqual([code, stderr], [0, ""]);
    assert.deepEqual([...stdout.matchAll(/name \d{240}/g)].map(([name]) => name).sort(), NAMES);
    if (args.includes("--json")) assert.equal(JSON.parse(stdout).length, NAMES.length);
  }
});

test("--debug and LOCKMGR_DEBUG=1 say on stderr what happens to locks, once", async () => {
  await using place = await Place.make();
  const asked = { LOCKMGR_DEBUG: "1" };
  const cases: [flags: string[], environment: Record<string, string>][] = [[["--debug"], {}], [["--debug"], asked], [
    [],
    asked,
  ]];
  await Promise.all(cases.map(async ([flags, environment], index) => {
    const args = ["set_lock", ...flags, "--json", `job ${index}\x1b[31m`];
    const { code, stdout, stderr } = await place.run(args, "", environment);
    assert.equal(code, 0);
    assert.equal(JSON.parse(stdout).counts.created, 1);
    const [opened, first, second, ...others] = stderr.trim().split("\n");
    assert.equal(opened, `lockmgr: open ${place.environment.LOCKMGR_URL}`);
    assert.match(first, /^lockmgr: acquire "job \d\\u001b\[31m" \(sqlite, lease\)$/);
    assert.match(
      second,
      /^lockmgr: acquire "job \d.*": granted after [\d.]+ ms \(sqlite, lease, token \d+, batch of 1\)$/,
    );
    assert.deepEqual(others, []);
  }));
});

test("a reader that closes the pipe early is no error", async () => {
  await using place = await Place.make();
  await place.run(["set_lock", ...NAMES]);
  for (const args of [["list_locks"], ["list_locks", "--json"], ["watch"], ["completions", "bash"], ["--help"]]) {
    const early = place.inShell('"$@" | head -c 1 >/dev/null; exit ${PIPESTATUS[0]}', args);
    const { code, stderr } = await early.ended;
    assert.deepEqual([code, stderr], [0, ""], args.join(" "));
  }
});

if (existsSync("/dev/full")) {
  test("a result that cannot be written is an error", async () => {
    await using place = await Place.make();
    await using watched = await Place.make();
    await Promise.all([place, watched].map((each) => each.run(["set_lock", "job"])));
    const commands = [
      ["list_locks"],
      ["list_locks", "--json"],
      ["set_lock", "job"],
      ["renew", "job"],
      ["show", "job", "--json"],
      ["wait", "free"],
      ["watch"],
      ["clear_lock", "job"],
      ["reset_locks", "-f"],
      ["clean"],
      ["schema"],
      ["doctor"],
      ["completions", "bash"],
      ["--help"],
      ["run", "--help"],
      ["--version"],
    ];
    await Promise.all(commands.map(async (args) => {
      const { code, stderr } = await (args[0] === "watch" ? watched : place).inShell('"$@" >/dev/full', args).ended;
      assert.equal(code, 1, args.join(" "));
      assert.match(stderr, /^lockmgr: Cannot write to stdout: .*no space left on device/im, args.join(" "));
      assert.doesNotMatch(stderr, /^ +at /m, args.join(" "));
    }));
  });

  test("messages that cannot be written change no exit code", async () => {
    await using place = await Place.make();
    const cases: [args: string[], code: number][] = [
      [["no_such_command"], 64],
      [["run", "job", "--", "sh", "-c", "exit 7"], 7],
      [["run", "job", "--", "no-such-command"], 127],
      [["list_locks", "--url", "/nowhere/locks.db"], 1],
    ];
    for (const [args, code] of cases) {
      for (const where of ["2>/dev/full", "2>&1 | true; exit ${PIPESTATUS[0]}"]) {
        assert.equal((await place.inShell(`"$@" ${where}`, args).ended).code, code, `${args.join(" ")} ${where}`);
      }
    }
  });
}
