/**
 * What checkers of packages and npm itself say of the tarball.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import process from "node:process";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
import { makeProject, runTool } from "./projects.ts";

const tarball = join(process.cwd(), "lockmgr.tgz");

test("publint finds nothing wrong with the package", async () => {
  const project = await makeProject("publint", {});
  await runTool(project, "publint", [tarball, "--strict", "--level=warning"]);
});

test("the types of every entry point are found, however a compiler resolves them", async () => {
  const project = await makeProject("attw", {});
  // the package is for "require" too, which since Node 22 loads such modules
  await runTool(project, "attw", [tarball, "--ignore-rules=cjs-resolves-to-esm"]);
});

test("npm would publish the tarball without a warning", async () => {
  const { code, output } = await command("npm", ["publish", "--dry-run", "--loglevel=warn", tarball]);
  assert.equal(code, 0, output);
  const warnings = output.split("\n").filter((line) => line.startsWith("npm warn"));
  assert.deepEqual(warnings.filter((line) => !line.includes("requires you to be logged in")), []);
});
