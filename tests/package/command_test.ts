import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command, type CommandResult } from "../runtimes/command.ts";
import { installedPackage } from "./installed.ts";

/** Runs the command as npm has linked it, under the runtime at hand. */
async function lockmgr(...parameters: string[]): Promise<CommandResult> {
  const link = join(process.cwd(), "node_modules", ".bin", "lockmgr");
  return await command(process.execPath, [link, ...parameters], { env: { NODE_NO_WARNINGS: "1" } });
}

test("npm links the command", async () => {
  const text = await readFile(join(process.cwd(), "node_modules", ".bin", "lockmgr"), "utf8");
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
