import { NodeOAuthClient, type NodeSavedSession } from "@atproto/oauth-client-node";
import { type Backend, connect, isLocked, listLocks, resetLocks } from "@lockmgr/lockmgr";
import { registerStoreTestSuite } from "@verrou/core/test_suite";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import process from "node:process";
import { requestLockOn } from "../../examples/integrations/atproto_oauth.ts";
import { LockmgrLockingProvider } from "../../examples/integrations/medusa_locking.ts";
import { LockmgrStore } from "../../examples/integrations/verrou_store.ts";
import { unlessPaused } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { command } from "../runtimes/command.ts";
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
    const run = async () => {
      await resetLocks({ backend });
      const passes = async () => await body({ assert: assertions });
      await (throws ? assert.rejects(passes, (error) => error instanceof throws) : passes());
    };
    await unlessPaused(run).catch((cause) => { // its leases last for 0.4 s
      throw new Error(`${name}: ${cause.message}`, { cause });
    });
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

/** Runs a program that prints when its task ran, in three processes; returns the seconds. */
async function secondsOf(program: string): Promise<string[]> {
  await using here = await place();
  const env = { ...process.env, LOCKMGR_URL: `sqlite:${here.path}` };
  const parameters = ["run", "-A", "--quiet", `examples/integrations/${program}.ts`];
  const children = Array.from({ length: 3 }, () => {
    return spawn(process.execPath, parameters, { env, stdio: ["ignore", "pipe", "inherit"] });
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
  return ran.map((line) => line.slice(0, "ran 2026-11-29T00:00:00".length));
}

/** Checks that no second comes twice: once it may, if the machine pauses between a lock and the output. */
async function runsOncePerSecond(program: string): Promise<void> {
  let seconds = await secondsOf(program);
  if (new Set(seconds).size < seconds.length) seconds = await secondsOf(program);
  assert.equal(new Set(seconds).size, seconds.length, seconds.join("\n"));
}

test("node-cron: each time that a task is due, one of three processes runs it", () => runsOncePerSecond("node_cron"));

test("NestJS: each time that a method is due, one of three processes runs it", () => {
  return runsOncePerSecond("nestjs_schedule");
});

test("Kysely: of three processes that start at once, one migrates", async () => {
  await using here = await place();
  const parameters = ["run", "-A", "--quiet", "examples/integrations/kysely_migration.ts", here.path];
  const ended = await Promise.all(Array.from({ length: 3 }, () => command(process.execPath, parameters)));
  const said = ended.map(({ code, stdout }) => `${code} ${stdout.trim()}`);
  assert.deepEqual(said.toSorted(), [0, 0, 2].map((count) => `0 ran ${count} migrations, found 1 orders`));
});

test("atproto: of two clients, one at a time restores the session of a user", async () => {
  await using here = await place();
  await using one = await connect(here.path);
  await using other = await connect(here.path);
  let inside = 0;
  const restored: number[] = [];
  const clients = [one, other].map((backend) =>
    new NodeOAuthClient({
      clientMetadata: {
        client_id: "http://localhost?scope=atproto",
        redirect_uris: ["http://127.0.0.1/"],
        scope: "atproto",
        token_endpoint_auth_method: "none",
        dpop_bound_access_tokens: true,
      },
      requestLock: requestLockOn(backend),
      handleResolver: "https://resolver.invalid", // its own one needs Node
      fetch: () => Promise.reject(new Error("offline")),
      stateStore: { get: () => undefined, set() {}, del() {} },
      sessionStore: {
        async get(sub): Promise<NodeSavedSession | undefined> {
          restored.push(++inside);
          const [{ name }] = await listLocks({ backend });
          assert(name.includes(sub));
          await new Promise((resolve) => setTimeout(resolve, 20));
          inside--;
          return undefined;
        },
        set() {},
        del() {},
      },
    })
  );
  const calls = [...clients, ...clients].map((client) => client.restore("did:plc:ewvi7nxzyoun6zhxrhs64oiz", false));
  await Promise.all(calls.map((call) => assert.rejects(call, /session/)));
  assert(restored.length >= 2 && restored.every((count) => count === 1), String(restored));
});

test("Medusa: jobs, owners and releases of its locking providers", async () => {
  await using here = await place();
  await using backend = await connect(here.path);
  await using elsewhere = await connect(here.path);
  const [one, other] = [backend, elsewhere].map((backend) => new LockmgrLockingProvider({}, { backend }));
  const job = one.execute(["a", "b", "a"], async (signal) => {
    assert.equal(signal?.aborted, false);
    await assert.rejects(other.execute("b", () => Promise.resolve(), { timeout: 0.05 }), { code: "LOCK_TIMEOUT" });
    return 7;
  });
  assert.equal(await job, 7);
  const stolen = one.execute("a", async () => void await resetLocks({ backend: elsewhere }), { expire: 0.3 });
  await assert.doesNotReject(stolen.catch(({ code }) => assert.equal(code, "LOCK_LOST")));

  await one.acquire(["a", "b"], { ownerId: "me", expire: 60 });
  await one.acquire("a", { ownerId: "me", expire: 600 });
  const [record] = await listLocks({ backend, names: ["medusa:a"] });
  assert(record.expiresIn! > 500);
  await assert.rejects(other.acquire(["c", "b"], { ownerId: "you" }), { code: "LOCKED", lockName: "medusa:b" });
  assert.equal(await isLocked("medusa:c", { backend }), false);
  assert.equal(await other.release("a", { ownerId: "you" }), false);
  assert.equal(await other.release(["a", "b"], { ownerId: "me" }), true);

  await one.acquire("a");
  await assert.rejects(one.acquire("a"), { code: "LOCKED" });
  assert.equal(await other.release("a"), true);
  await one.acquire("a", { ownerId: "me" });
  await one.acquire("b", { ownerId: "you" });
  await other.releaseAll({ ownerId: "me" });
  assert.deepEqual((await listLocks({ backend })).map(({ name }) => name), ["medusa:b"]);
  await other.releaseAll();
  assert.deepEqual(await listLocks({ backend }), []);
});
