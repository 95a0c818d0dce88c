import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "../harness.ts";
import { Place } from "./program.ts";

const COMMANDS = [
  "set_lock",
  "list_locks",
  "clear_lock",
  "reset_locks",
  "run",
  "lead",
  "renew",
  "wait",
  "show",
  "watch",
  "clean",
  "schema",
  "doctor",
  "completions",
];

test("wrong usage is 64, says what was wanted, and suggests the nearest", async () => {
  await using place = await Place.make();
  const wrong: [args: string[], says: RegExp][] = [
    [["lst_locks"], /Unknown command 'lst_locks'[^]*list_locks/],
    [["unlock", "x"], /Unknown command 'unlock'\n +Did you mean clear_lock/],
    [["list_locks", "--prefx", "x"], /Unknown option '--prefx'[^]*--prefix/],
    [["run", "name", "--grce", "1", "--", "true"], /Unknown option '--grce'[^]*--grace/],
    [["set_lock"], /Missing required argument/],
    [["clear_lock"], /Missing required argument/],
    [["run"], /Missing required argument/],
    [["run", "name"], /want "lockmgr run NAME -- COMMAND"/],
    [["run", "name", "--"], /want "lockmgr run NAME -- COMMAND"/],
    [["set_lock", "x", "-t", "soon"], /'soon' is invalid. Want seconds/],
    [["set_lock", "x", "-t", "-5"], /'-5' is invalid. Want seconds/],
    [["set_lock", "x", "-t", "99999999999"], /Cannot use expires 99999999999: want 0 to/],
    [["clear_lock", "x", "--token", "-1"], /'-1' is invalid. Want a token/],
    [["clear_lock", "x", "y", "--token", "1"], /Cannot use --token with several names/],
    [["set_lock", "x", "--pid", "1.5"], /'1.5' is invalid. Want a whole number/],
    [["set_lock", ""], /Cannot use an empty lock name/],
    [["set_lock", "x".repeat(256)], /over 255 characters/],
    [["run", "x", "-E", "256", "--", "true"], /Want an exit code/],
    [["run", "x", "-n", "-w", "1", "--", "true"], /Cannot use --nonblock with --wait/],
    [["--mode", "loose", "list"], /'loose' is invalid. Allowed choices are lease, session, hybrid/],
    [["--url", "gopher://x", "list"], /Cannot connect by "gopher:"/],
    [["--table", "a b", "list"], /Cannot use table "a b"/],
    [["list_locks", "extra"], /too many arguments/i],
    [[], /Usage: lockmgr/],
  ];
  for (const [args, says] of wrong) {
    const { code, stdout, stderr } = await place.run(args);
    assert.match(stderr, says, args.join(" "));
    assert.equal(code, 64, `${args.join(" ")}: ${stderr}`);
    assert.equal(stdout, "", args.join(" "));
    assert.doesNotMatch(stderr, /^ +at /m, args.join(" "));
  }
});

test("no command is 64, with the help, and with --json a document that says so", async () => {
  await using place = await Place.make();
  const { code, stdout, stderr } = await place.run(["--json"]);
  assert.equal(code, 64);
  assert.equal(JSON.parse(stdout).error.message, "Cannot run without a command");
  assert.match(stderr, /^Usage: lockmgr /);
  assert.doesNotMatch(stderr, /Cannot run/);
});

test("flags for every command stand before or after its name", async () => {
  await using place = await Place.make();
  const url = `${place.directory}/other.db`;
  await place.run(["--url", url, "--table", "mine", "set", "a"]);
  for (
    const args of [["--json", "--url", url, "list", "--table", "mine"], [
      "list",
      "--table=mine",
      "--json",
      "--url",
      url,
    ]]
  ) {
    assert.equal(JSON.parse((await place.run(args)).stdout)[0].name, "a");
  }
  assert.deepEqual(await place.json(["list", "--url", url]), []);
  const under = await place.run(["run", "a", "--url", url, "-n", "--table", "mine", "--", "echo", "--json"]);
  assert.equal(under.code, 2, "held in that database");
  assert.equal((await place.run(["run", "a", "--", "echo", "--json"])).stdout, "--json\n");
});

test("a database that cannot be reached is 1, without a stack, and with one under --debug", async () => {
  await using place = await Place.make();
  const url = `${place.directory}/missing/locks.db`;
  const plain = await place.run(["list", "--url", url]);
  assert.equal(plain.code, 1);
  assert.match(plain.stderr, /Cannot open database .*does not exist\n.*doctor/);
  assert.doesNotMatch(plain.stderr, /^ +at /m);
  const debug = await place.run(["--debug", "list", "--url", url]);
  assert.match(debug.stderr, /^ +at /m);
  const json = JSON.parse((await place.run(["list", "--json", "--url", url])).stdout);
  assert.equal(json.error.code, "BACKEND");
  assert.equal((await place.run(["set", "x", "--mode", "session"])).code, 1);
});

test("--help tells all of a command, on stdout and with 0", async () => {
  await using place = await Place.make();
  const help = await place.run(["--help"]);
  assert.equal(help.code, 0);
  for (const command of COMMANDS) {
    assert.match(help.stdout, new RegExp(`^  ${command}[ ,]`, "m"));
    const own = await place.run([command, "--help"]);
    assert.equal(own.code, 0);
    assert.match(own.stdout, /^Usage: lockmgr /);
    assert.match(own.stdout, /\nExamples:\n/);
    assert.match(own.stdout, /--url <url>/);
    for (const line of own.stdout.split("\n")) assert(line.length <= 80, line);
  }
  assert.match((await place.run(["help", "run"])).stdout, /--grace/);
  assert.match((await place.run(["run", "name", "--help"])).stdout, /--grace/);
  for (const line of help.stdout.split("\n")) assert(line.length <= 80, line);
});

test("--version is the package's", async () => {
  await using place = await Place.make();
  const config = JSON.parse(await readFile(new URL("../../deno.json", import.meta.url), "utf8"));
  assert.equal((await place.run(["--version"])).stdout, `${config.version}\n`);
});

test("a name with control characters cannot play with the terminal", async () => {
  await using place = await Place.make();
  const name = "a\x1b[2Jb\nc";
  await place.run(["set_lock", name]);
  const { stdout } = await place.run(["list_locks"]);
  assert.match(stdout, /name='a\\u001b\[2Jb\\u000ac'/);
  assert.equal((await place.json(["list"]))[0].name, name);
});

test("no colour in a pipe, nor with NO_COLOR on a terminal", async () => {
  await using place = await Place.make();
  // deno-lint-ignore no-control-regex -- the escape character is what is looked for
  const colour = /\x1b\[\d+m/;
  assert.doesNotMatch((await place.run(["lst"])).stderr, colour);
  assert.match((await place.onTerminal(["lst"]).ended).stdout, colour);
  assert.doesNotMatch((await place.onTerminal(["lst"], { NO_COLOR: "1" }).ended).stdout, colour);
});
