import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { setImmediate } from "node:timers";
import { aborted, later } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** Seconds after which the server ends a silent session. A busy machine may delay what follows a stall by 1.8 s. */
const TIMEOUT = 6;

/** Lets nothing run in this process for a while, as on a machine that has no time for it. */
function standStill(seconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, seconds * 1e3);
}

const MODES = ["session", "hybrid"] as const;

for (const mode of MODES) {
  test(`${mode}: a stalled process does not give up a session that the server keeps`, async () => {
    const table = freshTable();
    await using sql = administrator();
    await using proxy = await Proxy.start(server.port);
    const url = `postgres://postgres@127.0.0.1:${proxy.port}/postgres`;
    await using backend = await connect(url, { mode, table, sessionTimeout: TIMEOUT });
    const lock = await getLock("a", { backend });
    const { session } = lock;
    const answeredAt = async () =>
      (await sql`SELECT query_start::text AS at FROM pg_stat_activity
        WHERE pid = ${session!}::text::int AND state = 'idle'`)[0]?.at;
    for (let round = 0; round < 2; round++) {
      const last = await answeredAt();
      await until("it gave a sign of life", async () => ![last, undefined].includes(await answeredAt()));
      // the answer passes the proxy, which is in this process
      for (let turns = 0; turns < 6; turns++) await new Promise((resolve) => setTimeout(resolve, 5));
      standStill(0.6 * TIMEOUT);
      await new Promise((resolve) => setTimeout(resolve, 20)); // timers run first, then sockets are read
      assert.equal(lock.held, true, `round ${round}`);
      assert.equal(lock.signal.aborted, false);
    }
    await using other = await connect(server.url, { mode, table });
    assert.equal(await tryLock("a", { backend: other }), undefined);
    // a real silence is noticed before another can have the lock
    const told = aborted(lock.signal).then(() => performance.now());
    const waiting = later(getLock("a", { backend: other, wait: 20 }).then((next) => ({ next, at: performance.now() })));
    proxy.strand();
    const { next, at } = await waiting;
    assert(await told < at);
    await next.unlock();
  });
}

test("a process whose event loop never rests keeps its sessions for longer than they live without a heartbeat", async () => {
  await using stack = new AsyncDisposableStack();
  const open = async (mode: typeof MODES[number]) => {
    const options = { mode, table: freshTable(), sessionTimeout: TIMEOUT };
    const backend = stack.use(await connect(server.url, options));
    return { backend, other: stack.use(await connect(server.url, options)), lock: await getLock("a", { backend }) };
  };
  const held = await Promise.all(MODES.map(open));
  const until = performance.now() + 1.2 * TIMEOUT * 1e3;
  const work = async ({ backend, other }: typeof held[number], name: string) => {
    while (performance.now() < until) {
      assert.equal(await tryLock("a", { backend: other }), undefined);
      await (await getLock(name, { backend })).unlock();
    }
  };
  const busy = async () => {
    while (performance.now() < until) {
      for (const end = performance.now() + 10; performance.now() < end;);
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await Promise.all([busy(), ...held.flatMap((each) => ["b", "c", "d"].map((name) => work(each, name)))]);
  for (const { backend, lock } of held) {
    assert.equal(lock.signal.aborted, false, backend.mode);
    assert.equal(await lock.verify(), true, backend.mode);
  }
});
