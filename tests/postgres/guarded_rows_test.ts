import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import postgres from "postgres";
import { test } from "../harness.ts";
import { administrator, freshTable, server, until } from "./server.ts";

const GUARDED = 20;
/** How long the unrelated lease is watched (ms): several of its renewals, and longer than it lasts without them. */
const WATCHED_MS = 4_500;

for (const mode of ["lease", "hybrid"] as const) {
  test(`${mode}: releases of guarded rows delay neither renewals nor other names`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { table, mode });
    const sql = postgres(server.url, { max_lifetime: null, max: GUARDED, onnotice: () => {} });
    const lease = await getLock("unrelated", { backend, expires: 3, autoRenew: true });
    const locks = await Promise.all(Array.from({ length: GUARDED }, (_, n) => getLock(`guarded ${n}`, { backend })));
    const done = Promise.withResolvers<void>();
    let guarding = 0;
    const transactions = locks.map((lock) =>
      sql.begin(async (tx) => {
        await lock.guard(tx);
        guarding++;
        await done.promise;
      })
    );
    await until("all guard", () => guarding === GUARDED);
    const releases = locks.map(async (lock) => {
      for (;;) {
        try {
          return await lock.unlock();
        } catch (error) {
          assert.equal((error as Error).name, "BackendError", String(error));
        }
      }
    });
    const times: number[] = [];
    const from = performance.now();
    while (performance.now() - from < WATCHED_MS) {
      const askedAt = performance.now();
      const free = await tryLock(`free ${times.length}`, { backend });
      times.push(performance.now() - askedAt);
      assert(free);
      assert.equal(lease.held, true, `after ${performance.now() - from} ms`);
      await free.unlock();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.equal(await lease.verify(), true);
    done.resolve();
    await Promise.all(transactions);
    assert.deepEqual(await Promise.all(releases), locks.map(() => true));
    assert.equal(await lease.unlock(), true);
    times.sort((a, b) => a - b);
    const [median, late] = [0.5, 0.95].map((share) => times[Math.floor(times.length * share)]);
    assert(median < 100, `taken within ${median.toFixed()} ms, ${late.toFixed()} ms`);
    await sql.end({ timeout: 1 });
  });
}

test("a release and a renewal of a guarded row wait for the transaction", async () => {
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  await using sql = administrator();
  const [released, renewed, forced] = await Promise.all(["a", "b", "c"].map((name) => getLock(name, { backend })));
  const before = renewed.lockedUntil!;
  let ended = false;
  const { pending } = await sql.begin(async (tx) => {
    for (const lock of [released, renewed, forced]) await lock.guard(tx);
    const pending = [
      released.unlock().then((answer) => [answer, ended]),
      renewed.renew({ expires: 900 }).then(({ lockedUntil }) => [lockedUntil! > before, ended]),
      forced.unlock().then((answer) => [answer, ended]),
    ];
    await new Promise((resolve) => setTimeout(resolve, 300));
    await tx.unsafe(`UPDATE ${table} SET owner = NULL WHERE name = 'c'`);
    ended = true;
    return { pending };
  });
  assert.deepEqual(await Promise.all(pending), [[true, true], [true, true], [false, true]]);
});
