import { type Backend, connect, getLock, type Lock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { administrator, channelOf, freshTable, server, until } from "./server.ts";

const NAMES = Array.from({ length: 40 }, (_, index) => `lock ${String(index).padStart(2, "0")}`);

/** Takes all names at once. */
function takeAll(backend: Backend): Promise<Lock[]> {
  return Promise.all(NAMES.map((name) => getLock(name, { backend })));
}

/** Gives them back at once. */
async function giveBack(locks: readonly Lock[]): Promise<void> {
  for (const freed of await Promise.all(locks.map((lock) => lock.unlock()))) assert.equal(freed, true);
}

for (const mode of ["lease", "hybrid"] as const) {
  test(`${mode}: a batch that acquires nothing writes nothing`, async () => {
    const table = freshTable();
    await using sql = administrator();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    const locks = await takeAll(backend);
    let written = 1;
    for (let round = 0; round < 3 && written > 0; round++) { // the server's own processes write now and then
      await sql`CHECKPOINT`;
      const [{ lsn }] = await sql`SELECT pg_current_wal_insert_lsn()::text AS lsn`;
      const tries = await Promise.all(NAMES.map((name) => tryLock(name, { backend: other })));
      assert(tries.every((lock) => lock === undefined));
      [{ written }] = await sql`SELECT (pg_current_wal_insert_lsn() - ${lsn}::pg_lsn)::int AS written`;
    }
    assert.equal(written, 0);
    await giveBack(locks);
  });

  test(`${mode}: a batch acquires all names but those that another client has acquired meanwhile`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    for (let round = 0; round < 2; round++) await giveBack(await takeAll(backend));
    const taken = await Promise.all([NAMES[3], NAMES[30]].map((name) => getLock(name, { backend: other })));
    for (let round = 0; round < 2; round++) {
      const locks = await Promise.all(NAMES.map((name) => tryLock(name, { backend })));
      assert.deepEqual(NAMES.filter((_, index) => locks[index] === undefined), taken.map(({ name }) => name));
      await giveBack(locks.filter((lock) => lock !== undefined));
    }
    for (const lock of taken) assert.equal(await lock.verify(), true);
    await giveBack(taken);
    const again = await takeAll(backend);
    for (const { name, token } of taken) assert(again.find((lock) => lock.name === name)!.token > token);
    await giveBack(again);
  });

  test(`${mode}: a batch of releases notifies the waiters of its names and no others`, async () => {
    const table = freshTable();
    await using sql = administrator();
    const heard: string[] = [];
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table, sessionTimeout: 16 });
    const locks = await takeAll(backend);
    const waiting = [NAMES[5], NAMES[25]].map((name) => getLock(name, { backend: other, wait: 20 }));
    const channel = await channelOf(sql, table, NAMES[5]);
    assert.equal(await channelOf(sql, table, NAMES[25]), channel);
    await sql.listen(channel, (payload) => heard.push(payload));
    await giveBack(locks);
    const next = await Promise.all(waiting);
    await until("both notifications are heard", () => heard.length >= 2);
    assert.deepEqual(heard.map((payload) => JSON.parse(payload)[1]).sort(), [NAMES[5], NAMES[25]].sort());
    await giveBack(next);
    heard.length = 0;
    await giveBack(await takeAll(backend));
    await sql.notify(channel, JSON.stringify(["", "no waiter", ""]));
    await until("the mark is heard", () => heard.length > 0);
    assert.deepEqual(heard.map((payload) => JSON.parse(payload)[1]), ["no waiter"]);
  });
}
