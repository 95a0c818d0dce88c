/**
 * Tests of programs that use the package, under the runners of others: they end by themselves, without a handle open.
 *
 * @module
 */
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { startMysql } from "../servers/mysql.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { makeProject, runTool } from "./projects.ts";

/** The default backend is never closed, and a lock on it is left held and renewed; the others are closed. */
const testsWith = (runner: string) => `
  import { expect, test } from "${runner}";
  import { connect, getLock, tryLock } from "@lockmgr/lockmgr";

  for (const url of JSON.parse(process.env.URLS)) {
    test("locks on " + url.split(":")[0], async () => {
      const backend = await connect(url);
      const lock = await getLock("jobs of ${runner}", { backend, expires: 10, autoRenew: true });
      const waiting = getLock("jobs of ${runner}", { backend, wait: 10 });
      expect(await tryLock("jobs of ${runner}", { backend })).toBeUndefined();
      expect(await lock.unlock()).toBe(true);
      expect((await waiting).held).toBe(true);
      await backend[Symbol.asyncDispose]();
    });
  }
  test("a lock that is left", async () => {
    const lock = await getLock("left", { autoRenew: true });
    expect(lock.held).toBe(true);
  });`;

/** The parameters of each runner, and its further files. */
const runners = {
  jest: {
    imports: "@jest/globals",
    parameters: ["--detectOpenHandles"],
    files: { "jest.config.json": '{ "transform": {} }' },
    env: { NODE_OPTIONS: "--experimental-vm-modules --no-warnings" },
  },
  vitest: {
    imports: "vitest",
    parameters: ["run", "--reporter=default", "--reporter=hanging-process"],
    files: {},
    env: {},
  },
};

test("Jest and Vitest end without open handles", async () => {
  await using postgres = await PostgresServer.start();
  await using mysql = await startMysql();
  const URLS = JSON.stringify(["sqlite::memory:", postgres.url, mysql.url]);
  await Promise.all(
    Object.entries(runners).map(async ([name, { imports, parameters, files, env }]) => {
      const project = await makeProject(name, {
        "package.json": '{ "type": "module" }',
        "locks.test.js": testsWith(imports),
        ...files,
      });
      const output = await runTool(project, name, parameters, { ...env, URLS, LOCKMGR_URL: "sqlite:left.db" });
      assert.match(output, /\b4 passed/);
      assert.doesNotMatch(output, /open handle|did not exit|timed out|something prevents|hanging/i);
    }),
  );
});
