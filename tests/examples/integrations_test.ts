import { type Backend, connect, resetLocks } from "@lockmgr/lockmgr";
import { registerStoreTestSuite } from "@verrou/core/test_suite";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import process from "node:process";
import { LockmgrStore } from "../../examples/integrations/verrou_store.ts";
import { test } from "../harness.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { place } from "../sqlite/place.ts";

/** What Verrou's suite uses of its runner's assertions. */
const assertions = {
  isTrue: (value: unknown) => assert.equal(value, true),
  isFalse: (value: unknown) => assert.equal(value, false),
  isString: (value: unknown) => assert.equal(typeof value, "string"),
  equal: assert.equal,
  deepEqual: assert.deepEqual,
  rejects: (body: () => Promise<unknown>) => assert.rejects(body),
};

/** One test of Verrou's suite. */
interface Registered {
  readonly name: string;
  readonly body: (context: { assert: typeof assertions }) => Promise<void>;
  /** The error that it has to throw. */
  throws?: ErrorConstructor;
}

/** Runs Verrou's own suite for its stores on a backend; returns how many tests it has. */
async function runVerrouSuite(backend: Backend): Promise<number> {
  const tests: Registered[] = [];
  const register = (name: string, body: Registered["body"]) => {
    const registered: Registered = { name, body };
    tests.push(registered);
    return { throws: (_message: string, type: ErrorConstructor) => registered.throws = type };
  };
  registerStoreTestSuite({ test: register as never, createStore: () => new LockmgrStore(backend) });
  for (const { name, body, throws } of tests) {
    await resetLocks({ backend });
    const run = () => Promise.resolve(body({ assert: assertions }));
    const passes = throws ? assert.rejects(run, (error) => error instanceof throws) : run();
    await passes.catch((cause) => Promise.reject(new Error(`${name}: ${cause.message}`, { cause })));
  }
  return tests.length;
}

test("Verrou: its own suite passes on every engine", async () => {
  await using here = await place();
  await using postgres = await PostgresServer.start();
  await using mysql = await startMysql();
  await using mariadb = await startMariadb();
  const stores = [
    `sqlite:${here.path}`,
    mysql.url,
    mariadb.url,
    ...["lease", "hybrid"].map((mode) => {
      return `${postgres.url}?lockmgr_mode=${mode}&lockmgr_table=verrou_${mode}`;
    }),
  ];
  const backends = await Promise.all(stores.map((url) => connect(url)));
  const suites = await Promise.allSettled(backends.map(runVerrouSuite)); // some of its tests end before their work
  for (const backend of backends) await backend[Symbol.asyncDispose]();
  assert.deepEqual(suites, stores.map(() => ({ status: "fulfilled", value: 25 })));
});

test("node-cron: each time that a task is due, one of three processes runs it", async () => {
  await using here = await place();
  const env = { ...process.env, LOCKMGR_URL: `sqlite:${here.path}` };
  const command = ["run", "-A", "--quiet", "examples/integrations/node_cron.ts"];
  const children = Array.from({ length: 3 }, () => {
    return spawn(process.execPath, command, { env, stdio: ["ignore", "pipe", "inherit"] });
  });
  const ended = children.map((child) => new Promise((resolve) => child.once("close", resolve)));
  const ran: string[] = [];
  await Promise.race(children.map(async ({ stdout }) => {
    for await (const line of createInterface({ input: stdout })) {
      ran.push(line);
      if (ran.length >= 4) return;
    }
  }));
  for (const { pid } of children) process.kill(pid!, "SIGTERM");
  await Promise.all(ended);
  assert.match(ran[0], /^ran \d{4}-/);
  const seconds = ran.map((line) => line.slice(0, "ran 2026-11-29T00:00:00".length));
  assert.equal(new Set(seconds).size, ran.length, ran.join("\n"));
});
