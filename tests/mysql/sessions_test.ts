import { getLock, listLocks, LockLost, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import process from "node:process";
import { run, start } from "../processes/spawn.ts";
import { aborted } from "../conformance/case.ts";
import { connectionsTo, onEach, onOwn, type Place, until } from "./flavors.ts";

/** Kills every connection to the database of a place. */
async function killAll(place: Place): Promise<void> {
  for (const id of await connectionsTo(place)) await place.ask(`KILL ${id}`).catch(() => {});
}

for (const mode of ["session", "hybrid"] as const) {
  onEach(`${mode}: a holder that is killed hands its lock over within 100 ms (median)`, async (place) => {
    const backend = await place.backend({ mode });
    const times: number[] = [];
    for (let round = 0; round < 7; round++) {
      await using holder = start("tests/processes/holder.ts", [`${place.url}?lockmgr_mode=${mode}`, "a"]);
      const { token } = await holder.next<{ token: string }>();
      const waiter = getLock("a", { backend, wait: 30 });
      await until("somebody waits", () => tryLock("a", { backend }).then((lock) => lock === undefined));
      const killedAt = performance.now();
      holder.child.kill("SIGKILL");
      const lock = await waiter;
      times.push(performance.now() - killedAt);
      assert(lock.token > BigInt(token));
      await lock.unlock();
    }
    const median = times.sort((a, b) => a - b)[3];
    assert(median < 100, `median ${median} ms of ${times}`);
  });

  onEach(`${mode}: a thousand held locks are at most four connections`, async (place) => {
    const backend = await place.backend({ mode, maxConnections: 3 });
    const names = Array.from({ length: 1_000 }, (_, index) => `lock ${index}`);
    const locks = await Promise.all(names.map((name) => getLock(name, { backend })));
    const ids = await connectionsTo(place);
    assert(ids.length <= 4, `${ids.length} connections`);
    if (mode === "session") assert(ids.length > 2, "too many locks on one connection"); // servers slow down
    assert((await listLocks({ backend })).length === 1_000);
    const other = await place.backend({ mode });
    for (const name of ["lock 0", "lock 500", "lock 999"]) {
      assert.equal(await tryLock(name, { backend: other }), undefined);
    }
    const released = await Promise.all(locks.map((lock) => lock.unlock()));
    assert(released.every(Boolean));
  });

  onEach(`${mode}: a holder is told when its connection is killed, and can go on`, async (place) => {
    const backend = await place.backend({ mode });
    const lock = await getLock("a", { backend });
    const lost = aborted(lock.signal);
    await killAll(place);
    assert(await lost instanceof LockLost);
    assert.equal(lock.held, false);
    assert.equal(await lock.verify(), false);
    await lock.unlock().catch(() => false);
    const next = await getLock("a", { backend, wait: 10 });
    assert(next.token > lock.token);
    assert.equal(await next.unlock(), true);
  });

  onOwn(`${mode}: wait_timeout of the server does not end an idle holder`, ["--wait-timeout=2"], async (place) => {
    const backend = await place.backend({ mode });
    const lock = await getLock("a", { backend });
    const idle = place.ask("SELECT SLEEP(3.2)"); // the server's own clock of three seconds
    await idle;
    assert.equal(lock.held, true);
    assert.equal(await lock.verify(), true);
    assert.equal(await tryLock("a", { backend: await place.backend({ mode }) }), undefined);
    assert.equal(await lock.unlock(), true);
  });

  onEach(`${mode}: heartbeats keep a short session alive`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout: 3 });
    const lock = await getLock("a", { backend });
    await place.ask("SELECT SLEEP(4.2)");
    assert.equal(lock.held, true);
    assert.equal(await lock.verify(), true);
    await lock.unlock();
  });

  onEach(`${mode}: a holder that stands still for half of its timeout keeps its session`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout: 1.5 });
    const lock = await getLock("a", { backend });
    for (let round = 0; round < 3; round++) {
      await new Promise((resolve) => setTimeout(resolve, 300)); // a heartbeat is due meanwhile
      for (const until = performance.now() + 750; performance.now() < until;);
      assert.equal(lock.held, true);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.equal(await lock.verify(), true);
    await lock.unlock();
  });

  onEach(`${mode}: a holder that is stopped loses its lock, and knows when it goes on`, async (place) => {
    const backend = await place.backend({ mode });
    await using holder = start("tests/mysql/short_holder.ts", [place.url, mode, "a"]);
    await holder.next();
    process.kill(holder.child.pid!, "SIGSTOP");
    const lock = await getLock("a", { backend, wait: 30 });
    process.kill(holder.child.pid!, "SIGCONT");
    assert.deepEqual(await holder.next(), { lost: "LOCK_LOST" });
    holder.tell("state");
    assert.deepEqual(await holder.next(), { held: false, verified: false });
    assert.equal(await lock.verify(), true);
  });
}

for (const mode of ["lease", "session", "hybrid"] as const) {
  onEach(`${mode}: a lock that is held keeps no process alive`, async (place) => {
    const { code, output } = await run("tests/mysql/leaves_open.ts", [place.url, mode]);
    assert.equal(code, 0);
    assert.equal(output.trim(), "true");
    const backend = await place.backend({ mode });
    if (mode !== "lease") await getLock("a", { backend, wait: 10 }).then((lock) => lock.unlock()); // freed by the end
  });
}
