import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import process from "node:process";
import { test } from "../harness.ts";
import { findProgram } from "../servers/tools.ts";
import { Place } from "./program.ts";

/** Runs a line of a shell to its end. */
function shell(name: string, line: string, home: string): string {
  const { stdout, stderr, status } = spawnSync(name, ["-c", line], {
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: home },
  });
  assert.equal(status, 0, stderr);
  return stdout.trim();
}

test("completions know the commands and their flags", async () => {
  await using place = await Place.make();
  for (const shell of ["bash", "zsh", "fish"]) {
    const { code, stdout } = await place.run(["completions", shell]);
    assert.equal(code, 0);
    for (const word of ["set_lock", "list_locks", "doctor", "only-renew", "grace"]) assert(stdout.includes(word), word);
  }
  assert.equal((await place.run(["completions", "csh"])).code, 64);
});

test("bash completes commands, flags, their values, and the command under run", async () => {
  await using place = await Place.make();
  const { stdout } = await place.run(["completions", "bash"]);
  const complete = (...words: string[]) => {
    const typed = words.map((word) => `'${word}'`).join(" ");
    return shell(
      "bash",
      `${stdout}\nCOMP_WORDS=(lockmgr ${typed}); COMP_CWORD=${words.length}; _lockmgr 2>/dev/null; echo "\${COMPREPLY[@]}"`,
      place.directory,
    );
  };
  assert.equal(complete("list_"), "list_locks");
  assert.equal(complete("--json", "set", "--only"), "--only-renew");
  assert.equal(complete("--url", "x", "run", "--gr"), "--grace");
  assert.equal(complete("list", "--mode", "se"), "session");
  assert.equal(complete("completions", "f"), "fish");
  assert.equal(complete("run", "name", "--", "--gr"), "");
  assert.match(complete("run", "name", "--", "basenam"), /^basename\b/);
});

// Neither is on every machine that runs the tests, and nothing is downloaded for them.
if (findProgram("fish")) {
  test("fish completes commands, flags, their values, and the command under run", async () => {
    await using place = await Place.make();
    await writeFile(`${place.directory}/lockmgr.fish`, (await place.run(["completions", "fish"])).stdout);
    const complete = (typed: string) => {
      const line = `source '${place.directory}/lockmgr.fish'; complete -C '${typed}'`;
      return shell("fish", line, place.directory).split("\n").map((text) => text.split("\t")[0]).join(" ");
    };
    assert.equal(complete("lockmgr list_"), "list_locks");
    assert.equal(complete("lockmgr --json set --only"), "--only-renew");
    assert.equal(complete("lockmgr --url x run --gr"), "--grace");
    assert.equal(complete("lockmgr list --mode se"), "session");
    assert.equal(complete("lockmgr completions f"), "fish");
    assert.equal(complete("lockmgr run name -- basenam"), "basename");
  });
}

if (findProgram("zsh")) {
  test("zsh takes the script, and registers it", async () => {
    await using place = await Place.make();
    const file = `${place.directory}/_lockmgr`;
    await writeFile(file, (await place.run(["completions", "zsh"])).stdout);
    shell("zsh", `zsh -n '${file}'`, place.directory);
    const line = `autoload -Uz compinit; compinit -D -u; source '${file}'; echo $_comps[lockmgr]`;
    assert.equal(shell("zsh", line, place.directory), "_lockmgr");
  });
}
