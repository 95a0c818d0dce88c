/**
 * A lock that a release grants to a waiter whose process listens: what becomes of it when the notification is lost or
 * late, when the waiter is stopped or gives up, and when the server crashes.
 *
 * @module
 */
import { connect, getLock, listLocks, type Mode } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { later } from "../conformance/case.ts";
import { contend } from "../faults/contend.ts";
import { test } from "../harness.ts";
import { start, type Worker } from "../processes/spawn.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, channelOf, freshTable, server, until } from "./server.ts";

const MODES: Mode[] = ["lease", "hybrid"];

/** What a waiting process says once it holds the lock. */
interface Held {
  readonly token: string;
  readonly held: boolean;
  readonly excess: number;
}

/** A process that waits for lock "a" behind a holder of this process. */
async function waitingProcess(mode: Mode, table: string, expires: number, url = server.url) {
  const backend = await connect(url, { mode, table });
  const holder = await getLock("a", { backend, expires: 600 });
  const worker = start("tests/postgres/waiter.ts", [url, mode, table, "a", String(expires)]);
  await using sql = administrator(url);
  await channelOf(sql, table, "a");
  return { backend, holder, worker };
}

/** Ends the sessions that listen for grants. */
async function endListeners(url = server.url): Promise<number> {
  await using sql = administrator(url);
  const rows = await sql`
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND (query LIKE '%pg_advisory_lock(%' OR query LIKE 'SELECT current_setting%')`;
  return rows.length;
}

/** Has a stopped process go on. */
function resume({ child }: Worker): void {
  process.kill(child.pid!, "SIGCONT");
}

for (const mode of MODES) {
  test(`${mode}: a notification that is lost with its connection delays a waiter, and it holds what it was granted`, async () => {
    const { backend, holder, worker } = await waitingProcess(mode, freshTable(), 60);
    await using _backend = backend;
    await using _worker = worker;
    process.kill(worker.child.pid!, "SIGSTOP");
    await holder.unlock();
    const [{ token }] = await listLocks({ backend });
    assert(await endListeners() > 0);
    resume(worker);
    const { held, excess, ...grant } = await worker.next<Held>();
    assert.equal(held, true);
    if (mode === "lease") assert.equal(grant.token, String(token));
    assert(excess <= 0, `it believes for ${excess} ms too long`);
    worker.tell("end");
    assert.deepEqual(await worker.next(), { held: true, verified: true });
  });

  test(`${mode}: a waiter that was stopped for longer than its lease does not believe in the grant`, async () => {
    const { backend, holder, worker } = await waitingProcess(mode, freshTable(), 2);
    await using _backend = backend;
    await using _worker = worker;
    process.kill(worker.child.pid!, "SIGSTOP");
    await holder.unlock();
    const next = await getLock("a", { backend, wait: 30, expires: 600 });
    resume(worker);
    const first = worker.next<Held>();
    assert.equal(await Promise.race([first, sleep(1_500, "nothing")]), "nothing");
    assert.equal(await next.verify(), true);
    await next.unlock();
    const { held, excess, token } = await first;
    assert.equal(held, true);
    assert(excess <= 0, `it believes for ${excess} ms too long`);
    assert(BigInt(token) > next.token);
  });

  test(`${mode}: a waiter that was stopped for a part of its lease counts that part`, async () => {
    for (const stopped of [200, 1_000, 2_300]) {
      const { backend, holder, worker } = await waitingProcess(mode, freshTable(), 3);
      await using _backend = backend;
      await using _worker = worker;
      process.kill(worker.child.pid!, "SIGSTOP");
      await holder.unlock();
      await sleep(stopped);
      resume(worker);
      const { excess } = await worker.next<Held>();
      assert(excess <= 0, `it believes for ${excess} ms too long`);
    }
  });

  test(`${mode}: a waiter that gives up while it is granted the lock leaves it free`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    for (let round = 0; round < 60; round++) {
      const holder = await getLock("a", { backend });
      const controller = new AbortController();
      const waiting = later(getLock("a", { backend: other, wait: 30, signal: controller.signal }));
      const outcome = later(waiting.then((lock) => lock.unlock(), () => {}));
      await until("it waits", async () => (await listLocks({ backend }))[0].waiters === 1);
      const released = later(holder.unlock());
      await sleep(round % 6);
      const abortedAt = performance.now();
      controller.abort();
      await Promise.all([released, outcome]);
      // a caller is told after 0.5 s although the server has not answered
      if (performance.now() - abortedAt < 500) assert.deepEqual(await listLocks({ backend }), []);
      await (await getLock("a", { backend, wait: 10 })).unlock();
    }
  });

  test(`${mode}: the waiters of two backends of one process are each granted the lock in their turn`, async () => {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using one = await connect(server.url, { mode, table });
    await using two = await connect(server.url, { mode, table });
    const holder = await getLock("a", { backend });
    const tokens: bigint[] = [holder.token];
    let holders = 0;
    const take = async (own: typeof one) => {
      const lock = await getLock("a", { backend: own, wait: 30 });
      assert.equal(++holders, 1);
      assert(lock.token > tokens.at(-1)!);
      tokens.push(lock.token);
      assert.equal(await lock.verify(), true);
      holders--;
      await lock.unlock();
    };
    const all = Array.from({ length: 20 }, (_, index) => take(index % 2 ? one : two));
    await until("they wait", async () => (await listLocks({ backend }))[0].waiters === 2);
    await holder.unlock();
    await Promise.all(all);
    assert.equal(tokens.length, 21);
  });
}

for (const expires of [1, 60]) {
  for (const listens of [true, false]) {
    const who = listens ? "that listens" : "that polls";
    test(`a waiter ${who} keeps a lock for ${expires} s through a crash after the release`, async () => {
      const settings = { wal_writer_delay: "10s" };
      await using own = await PostgresServer.start({ settings });
      const table = freshTable();
      await using backend = await connect(own.url, { table });
      await using sql = administrator(own.url);
      const send = async (text: string, parameters: unknown[]) => await sql.unsafe(text, parameters as string[]);
      await using other = await (listens ? connect(own.url, { table }) : postgresBackend(send, { table }));
      const holder = await getLock("a", { backend, expires: 60 });
      const waiting = later(getLock("a", { backend: other, wait: 30, expires }));
      if (listens) await channelOf(sql, table, "a");
      else await until("it waits", async () => (await listLocks({ backend }))[0].waiters === 1);
      await holder.unlock();
      const lock = await waiting;
      await own.crash();
      await own.start();
      await using after = administrator(own.url);
      const [row] = await after.unsafe(`SELECT token::text FROM ${table}`);
      assert.equal(row.token, String(lock.token), "the grant is not on the disk");
    });
  }
}

for (const mode of MODES) {
  test(`${mode}: holders and waiters go on while the table is rewritten and its indexes are built again`, async () => {
    const table = freshTable();
    await using stack = new AsyncDisposableStack();
    await using sql = administrator();
    const backends = await Promise.all(Array.from({ length: 3 }, () => connect(server.url, { mode, table })));
    for (const backend of backends) stack.use(backend);
    const kept = await getLock("kept", { backend: backends[0], expires: 3, autoRenew: true });
    const contention = contend([...backends, ...backends], 20);
    for (const statement of ["VACUUM FULL", "REINDEX TABLE", "REINDEX TABLE CONCURRENTLY", "CLUSTER"]) {
      const before = contention.turns();
      const using = statement === "CLUSTER" ? `USING ${table}_pkey` : "";
      await sql.unsafe(`${statement} ${table} ${using}`);
      await until(`the lock changes hands after ${statement}`, () => contention.turns() > before + 10);
    }
    await contention.end();
    assert.equal(await kept.verify(), true);
    assert.equal(await kept.unlock(), true);
  });
}
