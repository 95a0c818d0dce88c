import { type Backend, connect, getLock, listLocks, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, freshTable, listeners, server, until } from "./server.ts";

/** The connections on which waiters are notified, and how many keys of waiters for session locks they share. */
async function listening(): Promise<{ pids: number[]; announced: number }> {
  await using sql = administrator();
  const shared = await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted`;
  return { pids: await listeners(sql), announced: shared.length };
}

/** A backend for which a client waits, and the lock that is in the way. */
async function waiting(mode: Mode, table: string) {
  const other = await connect(server.url, { mode, table });
  const backend = await connect(server.url, { mode, table });
  const held = await getLock("a", { backend: other });
  return { other, backend, held, next: getLock("a", { backend, wait: 30 }) };
}

/** Closes backends. */
async function close(...backends: Backend[]): Promise<void> {
  for (const backend of backends) await backend[Symbol.asyncDispose]();
}

test("one connection per database receives notifications until the last backend is closed", async () => {
  const table = freshTable();
  const waits = [
    await waiting("lease", table),
    await waiting("hybrid", freshTable()),
    await waiting("session", freshTable()),
  ];
  // another backend on the same table: the same name is registered twice, but stands in the queue by itself
  const twin = await connect(server.url, { table });
  const twice = later(getLock("a", { backend: twin, wait: 30 }));
  const queued = async () => {
    const rows = await Promise.all(waits.slice(0, 2).map(({ other }) => listLocks({ backend: other })));
    return rows.every(([{ waiters }], index) => waiters === 2 - index);
  };
  // a waiter for a session lock is registered under its name and the key of all waiters
  await until("all wait", async () => (await listening()).announced === 2 && await queued());
  assert.equal((await listening()).pids.length, 1);
  await using elsewhere = await connect(server.urlOf("template1"), { table });
  await using _held = await getLock("a", { backend: elsewhere });
  const controller = new AbortController();
  const apart = later(getLock("a", { backend: elsewhere, wait: 30, signal: controller.signal }));
  await until("the wait in another database is registered", async () => (await listening()).pids.length === 2);
  controller.abort();
  await assert.rejects(apart);

  await using sql = administrator();
  const [listener] = (await listening()).pids;
  await sql`SELECT pg_terminate_backend(${listener})`;
  await until("all wait again", async () => {
    const { pids, announced } = await listening();
    return announced === 2 && !pids.includes(listener);
  });
  for (const { held, next } of waits) {
    const releasedAt = performance.now();
    await held.unlock();
    const lock = await (held === waits[0].held ? Promise.race([next, twice]) : next);
    assert(performance.now() - releasedAt < 4_000);
    await lock.unlock();
  }
  await (await waits[0].next).unlock();
  await (await twice).unlock();
  const connections = async () =>
    (await sql`SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_advisory_unlock_shared(%' AND pid <> pg_backend_pid()`)[
      0
    ]
      .count;
  await until("one has ended its registrations", async () => await connections() === 1);
  await close(twin, ...waits.flatMap(({ backend, other }) => [backend, other]).slice(1));
  assert.equal(await connections(), 1);
  await close(waits[0].backend);
  await until("it is closed with the last backend", async () => await connections() === 0);
});

/** The connections that a backend keeps whose requests do not overlap: for its rows, and for its session. */
const CONNECTIONS: Record<Mode, number> = { lease: 1, hybrid: 2, session: 2 };

for (const [mode, each] of Object.entries(CONNECTIONS) as [Mode, number][]) {
  test(`${mode}: ten backends of one URL keep ${10 * each} connections, and none once they are closed`, async () => {
    await using sql = administrator();
    const program = `ten ${mode}`;
    const url = `${server.url}?application_name=${encodeURIComponent(program)}`;
    const connections = async () =>
      (await sql`SELECT count(*)::int FROM pg_stat_activity WHERE application_name = ${program}`)[0].count;
    const backends: Backend[] = [];
    for (const table of Array.from({ length: 10 }, freshTable)) {
      const backend = await connect(url, { mode, table });
      backends.push(backend);
      for (let round = 0; round < 3; round++) await (await getLock("a", { backend })).unlock();
    }
    assert.equal(await connections(), 10 * each);
    await close(...backends);
    await until("all are closed", async () => await connections() === 0);
  });
}
