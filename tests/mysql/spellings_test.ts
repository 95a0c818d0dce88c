import { type Backend, getLock, listLocks, type Mode, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createPool } from "mysql2/promise";
import { later } from "../conformance/case.ts";
import { flavors, onEach, placeOn, until } from "./flavors.ts";
import { test } from "../harness.ts";

const MODES: readonly Mode[] = ["lease", "hybrid", "session"];

/** How long a waiter may take to hear of a release (ms), in one of three rounds: the machine may stand still in others. */
const WOKEN_MS = 200;

/** Checks that two backends share one table: they exclude each other, and a release wakes the other one's waiter. */
async function sameTable(one: Backend, two: Backend): Promise<void> {
  for (const [holder, other] of [[one, two], [two, one]]) {
    let woken = Infinity;
    for (let round = 0; round < 3 && woken >= WOKEN_MS; round++) {
      const lock = await getLock("a", { backend: holder });
      assert.equal(await tryLock("a", { backend: other }), undefined);
      const waiting = later(getLock("a", { backend: other, wait: 30 }));
      const isWaiting = async () => (await listLocks({ backend: holder }))[0].waiters === 1;
      if (holder.mode !== "session") await until("it waits", isWaiting);
      const releasedAt = performance.now();
      await lock.unlock();
      const next = await waiting;
      const wokenAt = performance.now();
      await (await getLock("b", { backend: other })).unlock();
      woken = Math.min(woken, 2 * wokenAt - performance.now() - releasedAt); // without what a busy machine takes for a pair
      await next.unlock();
    }
    assert(woken < WOKEN_MS, `${woken} ms until the waiter was woken`);
  }
}

for (const mode of MODES) {
  onEach(`${mode}: a table is the same with and without its database`, async (place) => {
    const bare = await place.backend({ mode });
    const whole = await place.backend({ mode, table: `${place.name}.lockmgr_locks` });
    await using elsewhere = await mysqlBackend(place.server.url, { mode, table: `${place.name}.lockmgr_locks` });
    await using nowhere = await mysqlBackend(place.server.urlOf(""), { mode, table: `${place.name}.lockmgr_locks` });
    const pool = createPool({ uri: place.server.urlOf("") });
    await using _ended = { [Symbol.asyncDispose]: () => pool.end() };
    await using pooled = await mysqlBackend(pool, { mode, table: `${place.name}.lockmgr_locks` });
    for (const other of [whole, elsewhere, nowhere, pooled]) await sameTable(bare, other);
    const another = await place.backend({ mode, table: "other_locks" });
    const lock = await getLock("a", { backend: bare });
    await (await getLock("a", { backend: another })).unlock();
    await lock.unlock();
  });

  onEach(`${mode}: tables that differ in case are two where case matters`, async (place) => {
    const lower = await place.backend({ mode, table: "my_locks" });
    const upper = await place.backend({ mode, table: "MY_LOCKS" });
    const locks = await Promise.all([lower, upper].map((backend) => getLock("a", { backend })));
    for (const lock of locks) assert.equal(await lock.unlock(), true);
  });
}

for (const flavor of flavors) {
  test(`${flavor.name}: where case does not count, a table is the same in any, with or without its database`, async () => {
    await using server = await flavor.start({ settings: ["--lower-case-table-names=1"] });
    await using place = await placeOn(server, flavor);
    const { name } = place;
    for (const mode of MODES) {
      const one = await place.backend({ mode, table: "my_locks" });
      for (const table of ["MY_Locks", `${name}.my_locks`, `${name.toUpperCase()}.MY_LOCKS`]) {
        await sameTable(one, await place.backend({ mode, table }));
      }
      await using shouted = await mysqlBackend(server.urlOf(name.toUpperCase()), { mode, table: "MY_LOCKS" });
      await sameTable(one, shouted);
    }
  });

  test(`${flavor.name}: a database is the same under any character set of the connection`, async () => {
    await using place = await placeOn(flavor.shared, flavor);
    const names = ["ä", "ö"].map((letter) => `${place.name}${letter}`);
    const urls = names.map((name) => flavor.shared.urlOf(encodeURIComponent(name)));
    for (const name of names) await place.ask(`CREATE DATABASE \`${name}\``);
    try {
      await using plain = await mysqlBackend(urls[0], { mode: "session" });
      await using latin = await mysqlBackend(`${urls[0]}?charset=latin1`, { mode: "session" });
      await using other = await mysqlBackend(`${urls[1]}?charset=latin1`, { mode: "session" });
      await sameTable(plain, latin);
      const lock = await getLock("a", { backend: latin });
      await (await getLock("a", { backend: other })).unlock();
      await lock.unlock();
    } finally {
      for (const name of names) await place.ask(`DROP DATABASE \`${name}\``);
    }
  });
}
