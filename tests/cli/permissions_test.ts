import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { homedir, hostname } from "node:os";
import process from "node:process";
import { promisify } from "node:util";
import { test } from "../harness.ts";
import { CLI, Place } from "./program.ts";

const DENO_DIR = process.env.DENO_DIR ?? `${homedir()}/.cache/deno`;

/** The program with no more permissions than these, its home in the place. */
async function restricted(place: Place, permissions: string[], args: string[]) {
  const env = { PATH: place.environment.PATH, HOME: place.directory, DENO_DIR, GREETING: "hello" };
  const options = { env, cwd: place.directory };
  const parameters = ["run", "--no-prompt", "--quiet", ...permissions, CLI, ...args];
  return await promisify(execFile)(process.execPath, parameters, options)
    .then((ended) => ({ code: 0, ...ended }), (error) => error as { code: number; stdout: string; stderr: string });
}

/** The flags that docs/command-line.md gives for the default database. */
function permissionsIn(place: Place): string[] {
  const state = `${place.directory}/.local/state/lockmgr`;
  return [
    "--allow-env=LOCKMGR_URL,HOME,XDG_STATE_HOME,NO_COLOR,TERM",
    "--allow-sys=hostname",
    `--allow-read=${state}`,
    `--allow-write=${state}`,
  ];
}

test("the default database needs no more than the permissions in the docs", async () => {
  await using place = await Place.make();
  const permissions = permissionsIn(place);
  const cases: [args: string[], says: RegExp][] = [
    [["set_lock", "hello", "world"], /Created: +2/],
    [["set_lock", "hello", "world"], /Renewed: +2/],
    [["list_locks"], new RegExp(`locked_by='${hostname()}'`)],
    [["renew", "hello"], /is held until/],
    [["show", "hello"], /is held/],
    [["wait", "free"], /is free/],
    [["clear_lock", "hello"], /has been removed/],
    [["doctor"], /ok +taking a lock/],
    [["clean"], /Cleared/],
    [["reset_locks", "--force"], /Removed 1 lock/],
    [["schema"], /CREATE TABLE/],
    [["completions", "bash"], /complete -F _lockmgr/],
    [["--help"], /Usage/],
  ];
  for (const [args, says] of cases) {
    const { code, stdout, stderr } = await restricted(place, permissions, args);
    assert.match(stdout, says, stderr);
    assert.equal(code, 0, args.join(" "));
    assert.equal(stderr.includes("Requires"), false, stderr);
  }
});

test("help, the version and a database in memory need no permission at all", async () => {
  await using place = await Place.make();
  for (const args of [["--help"], ["--version"], ["list_locks", "--url", "sqlite::memory:"], ["run", "--help"]]) {
    assert.equal((await restricted(place, [], args)).code, 0, args.join(" "));
  }
});

test("run needs the environment and the right to run and stop commands, and says so", async () => {
  await using place = await Place.make();
  const permissions = permissionsIn(place).filter((flag) => !flag.startsWith("--allow-env"));
  const command = ["run", "job", "--", "sh", "-c", "echo $GREETING"];
  const all = await restricted(place, [...permissions, "--allow-env", "--allow-run"], command);
  assert.deepEqual([all.code, all.stdout], [0, "hello\n"]);
  for (const missing of [["--allow-env"], ["--allow-env", "--allow-run=sh"]]) {
    const { code, stdout, stderr } = await restricted(place, [...permissions, ...missing], command);
    assert.deepEqual([code, stdout], [1, ""], missing.join(" "));
    assert.match(stderr, /Requires run access/);
    assert.match(stderr, /docs\/command-line\.md/);
  }
});

test("one database for all working directories", async () => {
  await using place = await Place.make();
  const permissions = permissionsIn(place);
  await restricted(place, permissions, ["set_lock", "hello"]);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["run", "--no-prompt", "--quiet", ...permissions, CLI, "list_locks"],
    { cwd: "/", env: { PATH: place.environment.PATH, HOME: place.directory, DENO_DIR } },
  );
  assert.match(stdout, /name='hello'/);
});
