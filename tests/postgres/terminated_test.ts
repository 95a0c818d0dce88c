import { connect, getLock, type Lock, type Mode, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, listeners, server, until } from "./server.ts";

for (const mode of ["lease", "hybrid", "session"] satisfies Mode[]) {
  test(`${mode}: a backend survives the end of each of its connections and leaves none behind`, async () => {
    await using sql = administrator();
    const victim = `victim ${mode}`;
    const connections = async () =>
      (await sql`SELECT pid FROM pg_stat_activity WHERE application_name = ${victim}`).map(({ pid }) => String(pid));
    const table = freshTable();
    const backend = await connect(`${server.url}?application_name=${encodeURIComponent(victim)}`, { mode, table });
    await using other = await connect(server.url, { mode, table });
    const awaited = await getLock("awaited", { backend: other });
    const waiting = later(getLock("awaited", { backend, wait: 60 }));
    let lock: Lock = await getLock("held", { backend });
    await until("a client waits", async () => {
      const pids = await connections();
      return (await listeners(sql)).some((pid) => pids.includes(String(pid)));
    });
    const pids = await connections();
    // rows and listener; in hybrid mode also the session that vouches, in session mode the one with the lock
    assert(pids.length >= (mode === "lease" ? 2 : 3), String(pids));
    for (const pid of pids) {
      const lifeline = lock.session === pid;
      const lost = new Promise((resolve) => lock.signal.addEventListener("abort", resolve));
      await sql`SELECT pg_terminate_backend(${pid}::int)`;
      if (lifeline) {
        await lost;
        assert.equal(lock.signal.reason.name, "LockLost");
        assert.equal(lock.held, false);
        const again = await getLock("held", { backend, wait: 10 });
        assert(again.token > lock.token);
        assert.equal(await lock.unlock(), false);
        lock = again;
      } else assert.equal(await lock.verify(), true);
      assert.equal(await tryLock("held", { backend: other }), undefined);
      assert.equal(await tryLock("held", { backend }), undefined);
    }
    await awaited.unlock();
    await (await waiting).unlock();
    assert.equal(await lock.unlock(), true);
    await backend[Symbol.asyncDispose]();
    await until("all its connections are closed", async () => (await connections()).length === 0);
  });
}
