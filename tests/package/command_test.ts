import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { skip, test } from "../harness.ts";
import { command, type CommandResult } from "../runtimes/command.ts";
import { installedPackage } from "./installed.ts";

const link = join(process.cwd(), "node_modules", ".bin", "lockmgr");

/** Runs the command as npm has linked it, under the runtime at hand. */
async function lockmgr(...parameters: string[]): Promise<CommandResult> {
  return await command(process.execPath, [link, ...parameters], { env: { NODE_NO_WARNINGS: "1" } });
}

test("npm links the command", async () => {
  const text = await readFile(link, "utf8");
  assert.equal(text.split("\n")[0], "#!/usr/bin/env node");
  const { bin } = JSON.parse(await readFile(join(installedPackage, "package.json"), "utf8"));
  assert.deepEqual(Object.keys(bin), ["lockmgr"]);
});

test("the command shows its help", async () => {
  const { code, stdout, output } = await lockmgr("--help");
  assert.equal(code, 0, output);
  assert.match(stdout, /set_lock/);
});

test("the command sets, lists and clears a lock, by its token and by force only with a flag", async () => {
  const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
  try {
    const url = `sqlite:${join(directory, "locks.db")}`;
    const set = await lockmgr("set_lock", "hello", "--url", url);
    assert.equal(set.code, 0, set.output);
    const listed = await lockmgr("list_locks", "--json", "--url", url);
    assert.equal(listed.code, 0, listed.output);
    const [{ name, token }] = JSON.parse(listed.stdout);
    assert.equal(name, "hello");
    const reset = await lockmgr("reset_locks", "--url", url);
    assert.equal(reset.code, 64, reset.output);
    const cleared = await lockmgr("clear_lock", "hello", "--token", token, "--json", "--url", url);
    assert.deepEqual(JSON.parse(cleared.stdout), [{ name: "hello", removed: true }], cleared.output);
  } finally {
    await rm(directory, { recursive: true });
  }
});

const STRANGER = "a user who is not in the system's list, as in some containers, is told of LOCKMGR_URL";
if (process.getuid?.() !== 0) skip(STRANGER, "only root may become another user");
else {
  test(STRANGER, async () => {
    const readsAll = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]; // the runtime may be root's
    const user = [
      "--reuid=54321",
      "--regid=54321",
      "--clear-groups",
      ...readsAll,
      "--",
      process.execPath,
      link,
      "list",
    ];
    const env = { HOME: undefined, XDG_STATE_HOME: undefined, LOCKMGR_URL: undefined };
    const { code, output } = await command("setpriv", user, { env });
    assert.equal(code, 1, output);
    assert.match(output, /Cannot find the state directory for the default database: .*; want LOCKMGR_URL/);
    assert.doesNotMatch(output, /^ +at /m);
  });
}
