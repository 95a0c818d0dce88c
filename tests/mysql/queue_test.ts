/** What only the queue of this engine does: what becomes of waiters whose session or backend has ended. */
import { cleanLocks, getLock, getLocks, isLocked, listLocks, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createConnection, createPool } from "mysql2/promise";
import { deferred, later } from "../conformance/case.ts";
import { onEach, type Place, until } from "./flavors.ts";

onEach("hybrid: what was granted to a session that has ended is no lock of the next session", async (place) => {
  const backend = await place.backend({ mode: "hybrid" });
  const other = await place.backend({ mode: "hybrid" });
  const holder = await getLock("a", { backend });
  const waiting = later(getLock("a", { backend: other, wait: 30 }));
  await until("it waits", async () => (await listLocks({ backend }))[0].waiters === 1);
  const [{ line }] = await place.ask("SELECT line FROM lockmgr_locks WHERE name = 'a'");
  const [{ liveness, session }] = JSON.parse(String(line));
  // Another connection keeps the session's liveness lock, as the server itself does for an instant after its end.
  await using late = await createConnection(place.url);
  const kept = late.query("SELECT GET_LOCK(?, 30)", [liveness]);
  const queued = "SELECT 1 FROM information_schema.processlist WHERE state = 'User lock'";
  await until("the key is asked for", async () => (await place.ask(queued)).length === 1);
  await place.ask(`KILL ${session}`);
  await kept;
  await holder.unlock();
  const lock = await waiting;
  await late.query("SELECT RELEASE_LOCK(?)", [liveness]);
  assert.equal(await tryLock("a", { backend }), undefined);
  assert.equal(await lock.verify(), true);
});

/** A statement of a pool's connection. */
type Query = (options: { sql: string }, callback: (error: unknown, result: unknown) => void) => unknown;

/** A disposal that takes so long (ms) ran out of time: it has 1.9 s, and what is not given back by then expires. */
const OUT_OF_TIME_MS = 1_850;

/** Disposes of a backend whose request to queue is not answered; returns how many still wait, and its time (ms). */
async function disposeUnanswered(place: Place, name: string): Promise<{ waiters: number; took: number }> {
  const backend = await place.backend();
  const holder = await getLock(name, { backend });
  const pool = createPool({ uri: place.url });
  await using _ = { [Symbol.asyncDispose]: () => pool.end() };
  const entered = deferred();
  pool.pool.on("connection", (connection: { query: Query }) => {
    const query = connection.query.bind(connection);
    connection.query = (options, callback) =>
      query(
        options,
        (error, result) => options.sql.includes("JSON_ARRAY_INSERT") ? entered.resolve() : callback(error, result),
      );
  });
  const other = await mysqlBackend(pool);
  const waiting = assert.rejects(getLock(name, { backend: other, wait: 30 }), /disposed of/);
  await entered.promise;
  assert.equal((await listLocks({ backend, names: [name] }))[0].waiters, 1);
  const from = performance.now();
  await other[Symbol.asyncDispose]();
  const took = performance.now() - from;
  await waiting;
  const [{ waiters }] = await listLocks({ backend, names: [name] });
  assert.equal(await holder.unlock(), true);
  return { waiters, took };
}

onEach("a disposal removes a waiter from the queue whose request was not answered", async (place) => {
  for (let tries = 0;; tries++) {
    const { waiters, took } = await disposeUnanswered(place, `job ${tries}`);
    if (waiters === 0) return;
    assert(took > OUT_OF_TIME_MS && tries < 2, `${waiters} after ${took} ms`);
  }
});

onEach("a locked row with a queue is held by another for getLocks, and waited for by cleanLocks", async (place) => {
  const [backend, other] = [await place.backend(), await place.backend()];
  const holder = await getLock("a", { backend });
  const waiting = later(getLock("a", { backend: other, wait: 30 }));
  await until("it waits", async () => (await listLocks({ backend }))[0].waiters === 1);
  await using transaction = await createConnection(place.url);
  await transaction.query("BEGIN");
  await transaction.query("SELECT 1 FROM lockmgr_locks WHERE name = 'a' FOR UPDATE");
  await assert.rejects(getLocks(["a", "b"], { backend }), { name: "Locked" });
  assert.equal(await isLocked("b", { backend }), false);
  const cleaning = cleanLocks({ backend });
  await transaction.query("COMMIT");
  assert.equal(await cleaning, 0);
  await holder.unlock();
  await (await waiting).unlock();
});
