import { type Backend, getLock, getLocks, isLocked, type Lock, setLock, tryLock, unlock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { later, renewedTwice } from "../conformance/case.ts";
import { onEach } from "./flavors.ts";

/** How long the unrelated lease is watched (ms): several of its renewals. */
const WATCHED_MS = 6_000;

/** How many free names are taken at least: a tenth of them may take longer. */
const LEAST_TIMES = 21;

/** How long any statement may take (ms) before the machine counts as busy: 4 to 20 when it is idle. */
const STATEMENT_MS = 20;

/** How long the rows stay locked (ms): a release gives up after 4 s. */
const LONGEST_ROUND_MS = 1_000;

/** What a statement that waits for a locked row takes at least, on both servers. */
const SHORTEST_ROW_WAIT_MS = 1_000;

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: a release of a row that a transaction has locked does not delay other names`, async (place) => {
    const backend = await place.backend({ mode, maxConnections: 4 });
    const names = Array.from({ length: 20 }, (_, index) => `guarded ${index}`);
    const clients = await Promise.all(names.map(() => mysql.createConnection(place.url)));
    const plain = await mysql.createConnection(place.url);
    const take = () => Promise.all(names.map((name) => getLock(name, { backend, expires: null })));
    let guarded = await take();
    const kept = await getLock("kept", { backend, expires: 4, autoRenew: true });
    let lost = false;
    kept.signal.addEventListener("abort", () => lost = true);
    const beside = names.map((_, index) => `beside ${index}`);
    const other = await place.backend({ mode });
    const times: number[] = [];
    let longest = 0;
    const startedAt = performance.now();
    let [watching, heardAt, silence] = [true, startedAt, 0];
    const pulse = later((async () => { // measures the delay of an unrelated statement
      for (; watching; await new Promise((resolve) => setTimeout(resolve, 2))) {
        await plain.query("SELECT 1");
        silence = Math.max(silence, performance.now() - heardAt);
        heardAt = performance.now();
      }
    })());
    using _ = { [Symbol.dispose]: () => void (watching = false) };
    /** How long something took (ms), minus the delay of that many unrelated statements on a busy machine. */
    const since = (from: number, statements: number, now = performance.now()) =>
      now - from - statements * (Math.max(silence, now - heardAt, STATEMENT_MS) - STATEMENT_MS);
    for (let round = 0; performance.now() - startedAt < WATCHED_MS || times.length < LEAST_TIMES; round++) {
      for (const client of clients) await client.beginTransaction();
      if (round % 2 === 0) await Promise.all(guarded.map((lock, index) => lock.guard(clients[index])));
      else {
        // Transactions that this backend knows nothing of.
        const keep = "SELECT * FROM lockmgr_locks WHERE name = ? FOR UPDATE";
        await Promise.all(names.map((name, index) => clients[index].query(keep, [name])));
      }
      const releases = guarded.map((lock) => lock.unlock());
      const roundAt = performance.now();
      for (const name of beside) {
        if (performance.now() - roundAt > LONGEST_ROUND_MS) break;
        silence = 0;
        const askedAt = performance.now();
        const lock = await tryLock(name, { backend }) as Lock;
        times.push(since(askedAt, 1));
        longest = Math.max(longest, since(askedAt, 2)); // behind another batch
        silence = 0;
        const releasedAt = performance.now();
        const release = lock.unlock();
        const next = await getLock(name, { backend: other, wait: 10 }); // the release's answer may come later
        longest = Math.max(longest, since(releasedAt, 4)); // the release, a try, a place in the queue, the confirmation
        assert.equal(await release, true);
        await next.unlock();
      }
      for (const client of clients) await client.commit();
      assert((await Promise.all(releases)).every(Boolean));
      guarded = await take();
    }
    watching = false;
    await pulse;
    assert.equal(lost, false);
    assert.equal(await kept.verify(), true);
    times.sort((a, b) => a - b);
    assert(times[Math.floor(times.length * 0.9)] < 100, `${times.slice(-5)} ms of ${times.length}`);
    assert(longest < SHORTEST_ROW_WAIT_MS, `${longest} ms until a free name was taken, or a released one was free`);
    for (const client of [plain, ...clients]) await client.end();
  });
}

onEach("a renewal of a row that a transaction has locked does not delay other renewals", async (place) => {
  const backend = await place.backend();
  const options = { backend, expires: 9, autoRenew: true };
  const names = Array.from({ length: 10 }, (_, index) => `lock ${index}`);
  const locks = await Promise.all(names.map((name) => getLock(name, options)));
  const client = await mysql.createConnection(place.url);
  await client.beginTransaction();
  await locks[0].guard(client);
  const startedAt = performance.now();
  await renewedTwice(backend, ...names.slice(1));
  const took = performance.now() - startedAt;
  assert(took < 7_500, `all others were renewed twice after ${took} ms`); // of which 6 s are their intervals
  await client.commit();
  for (const lock of locks.slice(1)) assert.equal(await lock.unlock(), true);
  await client.end();
  await locks[0].unlock();
});

onEach("a release of a locked row takes effect when the transaction ends", async (place) => {
  const backend = await place.backend();
  const lock = await getLock("a", { backend });
  const client = await mysql.createConnection(place.url);
  await client.beginTransaction();
  await lock.guard(client);
  const releasing = later(lock.unlock());
  for (let round = 0; round < 20; round++) assert.equal(await isLocked("a", { backend }), true);
  await client.commit();
  assert.equal(await releasing, true);
  assert.equal(await isLocked("a", { backend }), false);
  assert.equal(await backend.release([{ name: "a", owner: "another" }]).then(([freed]) => freed), false);
  await client.end();
});

/** A statement of a pool's connection. */
type Query = (options: object, callback: (error: unknown, result: unknown) => void) => unknown;

/** Runs a body on a backend in `hybrid` mode; `afterAnswer` is awaited before each answer reaches the backend. */
async function onHookedPool(
  url: string,
  body: (backend: Backend, hook: { afterAnswer(): Promise<unknown> }) => Promise<void>,
): Promise<void> {
  const hook = { afterAnswer: () => Promise.resolve<unknown>(undefined) };
  const pool = mysql.createPool({ uri: url });
  pool.pool.on("connection", (connection: { query: Query }) => {
    const query = connection.query.bind(connection);
    connection.query = (options, callback) =>
      query(options, (error, result) => {
        hook.afterAnswer().then(() => callback(error, result), (failure) => callback(failure, undefined));
      });
  });
  try {
    await using backend = await mysqlBackend(pool, { mode: "hybrid" });
    await body(backend, hook);
  } finally {
    await pool.end();
  }
}

onEach("hybrid: a release succeeds after whichever answer the transaction that locks the row ends", async (place) => {
  const client = await mysql.createConnection(place.url);
  await onHookedPool(place.url, async (backend, hook) => {
    for (let round = 0; round < 8; round++) {
      const lock = await getLock("a", { backend });
      await client.beginTransaction();
      await lock.guard(client);
      let answers = 0;
      hook.afterAnswer = async () => {
        if (answers++ === Math.floor(round / 2)) await client.commit();
      };
      const isFreed = round % 2 === 0 ? await lock.unlock() : await unlock("a", { backend });
      assert.equal(isFreed, true, `round ${round}`);
      assert.equal(await isLocked("a", { backend }), false);
    }
  });
  await client.end();
});

onEach("hybrid: a release of a free name says whether it frees the lock that is acquired meanwhile", async (place) => {
  const other = await place.backend({ mode: "hybrid" });
  await onHookedPool(place.url, async (backend, hook) => {
    await (await getLock("a", { backend })).unlock();
    let acquired: Lock | undefined;
    hook.afterAnswer = async () => acquired ??= await getLock("a", { backend: other });
    const isFreed = await unlock("a", { backend });
    assert.equal(await acquired!.verify(), !isFreed);
    await acquired!.unlock();
  });
});

onEach(
  "waiting and steal behind a transaction that guards the holder end with the wait, or get the lock",
  async (place) => {
    for (const mode of ["lease", "hybrid"] as const) {
      const backend = await place.backend({ mode });
      for (const options of [{}, { limit: 2 }, { steal: true }]) {
        const lock = await getLock("a", { backend });
        const client = await mysql.createConnection(place.url);
        await client.beginTransaction();
        await lock.guard(client);
        const startedAt = performance.now();
        await assert.rejects(getLock("a", { backend, wait: 0.5, ...options }), { name: "LockTimeout" });
        const took = performance.now() - startedAt;
        assert(took < 3_000, `${took} ms`); // once the wait is over, its place is given back: half a second at most
        const waiting = later(getLock("a", { backend, wait: 30, ...options }));
        assert.equal(await lock.verify(), true);
        await client.commit();
        await client.end();
        if (!("steal" in options)) assert.equal(await lock.unlock(), true);
        const next = await waiting;
        assert.equal(await next.verify(), true);
        assert.equal(lock.held, false);
        await next.unlock();
      }
    }
  },
);

onEach("renewals of several locks wait for the transaction that guards one of them", async (place) => {
  const backend = await place.backend();
  const client = await mysql.createConnection(place.url);
  await using set = await getLocks(["a", "b"], { backend, expires: 60 });
  for (const renew of [() => set.renew({ expires: 900 }), () => setLock(["a", "b"], { backend, expires: 1_800 })]) {
    const before = set.locks.map(({ lockedUntil }) => Number(lockedUntil));
    await client.beginTransaction();
    await set.locks[0].guard(client);
    const pending = later<unknown>(renew());
    await new Promise((resolve) => setTimeout(resolve, 300));
    await client.commit();
    await pending;
    for (const lock of set.locks) await lock.refresh();
    set.locks.forEach(({ lockedUntil }, index) => assert(Number(lockedUntil) > before[index] + 600e3, `${index}`));
  }
  await client.end();
});
