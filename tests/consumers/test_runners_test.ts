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
const testsWith = (runner: string, fakes: string, except: string) => `
  import { expect, test, ${fakes} } from "${runner}";
  import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
  import { subscribe } from "node:diagnostics_channel";

  for (const url of JSON.parse(process.env.URLS)) {
    test("locks on " + url.split(":")[0], async () => {
      const backend = await connect(url);
      const lock = await getLock("jobs of ${runner}", { backend, expires: 10, autoRenew: true });
      const waiting = getLock("jobs of ${runner}", { backend, wait: 10 });
      expect(await tryLock("jobs of ${runner}", { backend })).toBeUndefined();
      expect(await lock.unlock()).toBe(true);
      expect((await waiting).held).toBe(true);
      await backend[Symbol.asyncDispose]();
    }, 60_000);
    test("locks beside fake timers on " + url.split(":")[0], async () => {
      const backend = await connect(url);
      const ofDrivers = ["setImmediate", "setTimeout", "nextTick"];
      ${fakes}.useFakeTimers({ ${except}: url.startsWith("sqlite") ? [] : ofDrivers });
      try {
        const lock = await getLock("faked of ${runner}", { backend, expires: 0.5 });
        const next = await getLock("faked of ${runner}", { backend, wait: 10 }); // once the lease has expired
        expect(lock.held).toBe(false);
        const busy = await getLock("faked of ${runner}", { backend, wait: 0.05 }).catch((error) => error);
        expect(busy.code).toBe("LOCK_TIMEOUT");
        expect(await next.unlock()).toBe(true);
      } finally {
        ${fakes}.useRealTimers();
      }
      await backend[Symbol.asyncDispose]();
    }, 60_000);
  }
  test("a lock that is left", async () => {
    subscribe("tracing:lockmgr.acquire:start", () => {
      throw new Error("a subscriber fails");
    });
    const lock = await getLock("left", { autoRenew: true });
    expect(lock.held).toBe(true);
  }, 60_000);`;

/** The parameters of each runner, and its further files. */
const runners = {
  jest: {
    imports: "@jest/globals",
    fakes: "jest",
    except: "doNotFake",
    parameters: ["--detectOpenHandles"],
    files: { "jest.config.json": '{ "transform": {} }' },
    env: { NODE_OPTIONS: "--experimental-vm-modules --no-warnings" },
  },
  vitest: {
    imports: "vitest",
    fakes: "vi",
    except: "toNotFake",
    parameters: ["run", "--reporter=default", "--reporter=hanging-process"],
    files: {},
    env: {},
  },
};

test("Jest and Vitest end without open handles, and their fake timers stop no lock", async () => {
  await using postgres = await PostgresServer.start();
  await using mysql = await startMysql();
  const URLS = JSON.stringify(["sqlite::memory:", postgres.url, mysql.url]);
  await Promise.all(
    Object.entries(runners).map(async ([name, { imports, fakes, except, parameters, files, env }]) => {
      const project = await makeProject(name, {
        "package.json": '{ "type": "module" }',
        "locks.test.js": testsWith(imports, fakes, except),
        ...files,
      });
      const output = await runTool(project, name, parameters, { ...env, URLS, LOCKMGR_URL: "sqlite:left.db" });
      assert.match(output, /\b7 passed/);
      assert.match(output, /failed: Error: a subscriber fails/);
      assert.doesNotMatch(output, /open handle|did not exit|timed out|something prevents|hanging/i);
    }),
  );
});
