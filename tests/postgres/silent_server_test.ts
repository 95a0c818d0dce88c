import { type BackendError, connect, getLock, type Mode } from "@lockmgr/lockmgr";
import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid", "session"];

/** The server's address through a proxy. */
function through({ port }: Proxy): string {
  return `postgres://postgres@127.0.0.1:${port}/postgres`;
}

test("a wait ends in time with a silent server, and its late grant is released", async () => {
  await Promise.all(MODES.map(async (mode) => {
    const table = freshTable();
    await using proxy = await Proxy.start(server.port);
    await using direct = await connect(server.url, { mode, table });
    const backend = await connect(through(proxy), { mode, table, sessionTimeout: 12 });
    await (await getLock("warm", { backend })).unlock();
    const holder = await getLock("a", { backend: direct });
    const startedAt = performance.now();
    const waiting = later(getLock("a", { backend, wait: 1, ...(mode === "session" ? {} : { expires: 4 }) }));
    await until("a client waits", async () => (await direct.list({ names: ["a"] })).length > 0);
    proxy.swallow = "answers";
    await holder.unlock(); // what the waiter asks now is granted, and nobody tells it
    await assert.rejects(waiting, (error: BackendError) => {
      assert.equal(error.name, "BackendError");
      assert.equal(error.retryable, true);
      return true;
    });
    const after = performance.now() - startedAt;
    assert(after < 1_000 + 2_000 + 5_000, `${mode}: answered after ${after} ms`);
    const closing = backend[Symbol.asyncDispose]();
    const next = await getLock("a", { backend: direct, wait: 20 });
    assert(next.token > holder.token);
    await next.unlock();
    await closing;
  }));
});

test("advisoryLock: a wait ends in time with a silent server", async () => {
  await using proxy = await Proxy.start(server.port);
  const backend = await connect(through(proxy), { table: freshTable() });
  await (await advisoryLock(backend, "warm")).release();
  proxy.swallow = "answers";
  const startedAt = performance.now();
  await assert.rejects(advisoryLock(backend, "a", { timeout: 0.2 }), { name: "BackendError" });
  const after = performance.now() - startedAt;
  assert(after < 5_000, `answered after ${after} ms`);
  await backend[Symbol.asyncDispose]();
  await using direct = await connect(server.url, { table: freshTable() });
  await using lock = await advisoryLock(direct, "a", { timeout: 10 });
  assert(lock.acquired);
});

/** How long (ms) an idle machine takes to open four connections and to end them. */
const CONNECTING_MS = 30;

test("connections that break while idle delay no statement", async () => {
  await using proxy = await Proxy.start(server.port);
  let closed = 0;
  const driver = { onclose: () => closed++ };
  await using backend = await connect(through(proxy), { table: freshTable(), driver });
  const times: number[] = [];
  const four = () => Promise.all(Array.from({ length: 4 }, () => backend.list({}))); // each on a connection of its own
  for (let round = 0; round < 5; round++) {
    await four();
    closed = 0;
    proxy.cut();
    await until("it is noticed", () => closed === 4);
    const startedAt = performance.now();
    await four();
    const took = performance.now() - startedAt;
    await Promise.all(Array.from({ length: 4 }, async () => { // a busy machine is slow to connect
      await using sql = administrator();
      await sql`SELECT 1`;
    }));
    const connecting = performance.now() - startedAt - took;
    times.push(took - Math.max(0, connecting - CONNECTING_MS));
  }
  const median = times.sort((a, b) => a - b)[2];
  assert(median < 300, `answered after ${times.map((time) => time.toFixed(0)).join(", ")} ms`);
});
