import { connect, getLock, type Mode, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { aborted, later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, freshTable, listeners, until } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid", "session"];

for (const mode of MODES) {
  test(`${mode}: the server restarts during a wait and while a lock is held`, async () => {
    await using own = await PostgresServer.start();
    const table = freshTable();
    await using backend = await connect(own.url, { mode, table });
    await using other = await connect(own.url, { mode, table });
    const lock = await getLock("a", { backend, ...(mode === "session" ? {} : { expires: 600 }) });
    const waiting = later(getLock("a", { backend: other, wait: 60 }));
    await until("it waits", async () => {
      await using sql = administrator(own.url);
      return (await listeners(sql)).length > 0;
    });
    await own.restart();
    if (mode === "lease") {
      assert.equal(await lock.verify(), true);
      assert.equal(await lock.unlock(), true);
    } else {
      await aborted(lock.signal);
      assert.equal(lock.held, false);
    }
    const next = await waiting;
    assert(next.token > lock.token);
    assert.equal(await next.unlock(), true);
  });
}

test("a grant survives a crash of a server with synchronous_commit = off", async () => {
  await using own = await PostgresServer.start({ settings: { synchronous_commit: "off", wal_writer_delay: "10s" } });
  const table = freshTable();
  const cases = [[["a"], 0], [["a"], 1], [["b", "c", "d"], 0], [["b", "c", "d"], 1]] as const;
  for (const [names, releases] of cases) { // how often they were released here before
    const backend = await connect(own.url, { table });
    const take = () => Promise.all(names.map((name) => getLock(name, { backend })));
    for (let round = 0; round < releases; round++) for (const lock of await take()) await lock.unlock();
    const locks = await take();
    await own.crash();
    await own.start();
    for (const lock of locks) {
      assert.equal(await lock.verify(), true, `${lock.name}, released ${releases} times before`);
      assert.equal(await lock.unlock(), true);
    }
    await backend[Symbol.asyncDispose]();
  }
});

test("a server that is down is a BackendError with its cause, not Locked", async () => {
  const own = await PostgresServer.start();
  const backend = await connect(own.url, { table: "t" });
  const session = await connect(own.url, { mode: "session", table: "t" });
  await own.stop();
  for (const each of [backend, session]) {
    await assert.rejects(tryLock("a", { backend: each }), (error: Error & { retryable?: boolean }) => {
      assert.equal(error.name, "BackendError");
      assert.equal(error.retryable, true);
      assert(error.cause);
      return true;
    });
    await each[Symbol.asyncDispose]();
  }
  await assert.rejects(connect(own.url), { name: "BackendError" });
});
