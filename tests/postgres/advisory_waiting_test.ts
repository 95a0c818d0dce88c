/**
 * `advisoryLock` waits in the server's own queue, and nothing stays held or waiting there when the wait ends.
 *
 * @module
 */
import { type Backend, BackendError, connect } from "@lockmgr/lockmgr";
import { advisoryLock } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import process from "node:process";
import pg from "pg";
import type postgres from "postgres";
import { Proxy } from "../faults/proxy.ts";
import { seeded } from "../faults/random.ts";
import { test } from "../harness.ts";
import { start } from "../processes/spawn.ts";
import { takeFairly, takeTurns } from "../processes/turns.ts";
import { administrator, freshTable, server, until } from "./server.ts";

/** How often the process that waits and holds is killed; 200 take four minutes. */
const KILLS = Number(process.env.LOCKMGR_TEST_KILLS ?? 4);
/** Chooses the moments of the kills. */
const SEED = Number(process.env.LOCKMGR_TEST_SEED ?? Date.now() % 1_000_000);

const open = (): Promise<Backend> => connect(server.url, { table: freshTable() });

/** How many clients hold a lock of this number or wait for it. */
async function inQueue(id: number, granted: boolean): Promise<number> {
  await using sql = administrator();
  const [{ count }] = await sql`SELECT count(*)::int FROM pg_locks
    WHERE locktype = 'advisory' AND objid = ${id} AND granted = ${granted}`;
  return count;
}

const waits = (id: number) => until(`a client waits for ${id}`, async () => await inQueue(id, false) > 0);

/** Waits until the server has ended the sessions that were closed, which may take it a moment. */
const isFree = (id: number) =>
  until(`nothing is left of ${id}`, async () => await inQueue(id, true) + await inQueue(id, false) === 0);

/** Holds a lock of this number as another program does. */
async function hold(id: number): Promise<AsyncDisposable> {
  const sql = administrator();
  const connection = await sql.reserve();
  await connection`SELECT pg_advisory_lock(${id})`;
  return {
    async [Symbol.asyncDispose]() {
      await connection`SELECT pg_advisory_unlock(${id})`;
      connection.release();
      await sql[Symbol.asyncDispose]();
    },
  };
}

/** The limits that a transaction has. */
async function limits(tx: postgres.TransactionSql): Promise<unknown> {
  const [row] = await tx`SELECT current_setting('lock_timeout') AS lock,
    current_setting('statement_timeout') AS statement, current_setting('client_connection_check_interval') AS checks`;
  return { ...row };
}

test("advisoryLock: a deadlock of two transactions is a retryable error, with the server's as its cause", async () => {
  await using sql = administrator();
  let arrived = 0;
  let crossedAt = 0;
  const cross = (first: number, second: number) =>
    sql.begin(async (tx) => {
      await advisoryLock(tx, first);
      arrived++;
      await until("both hold their first", () => arrived === 2);
      crossedAt = performance.now();
      await advisoryLock(tx, second);
    });
  const outcomes = await Promise.allSettled([cross(101, 102), cross(102, 101)]);
  assert(performance.now() - crossedAt < 5_000); // the server looks after a second
  const [victim, ...others] = outcomes.filter((outcome) => outcome.status === "rejected");
  assert.equal(others.length, 0);
  assert(victim.reason instanceof BackendError && victim.reason.retryable, String(victim.reason));
  assert.equal((victim.reason.cause as { code: string }).code, "40P01");
});

test("advisoryLock: an exclusive lock is granted among readers that overlap", async () => {
  await using backend = await open();
  let stopped = false;
  let turns = 0;
  const readers = Promise.all([0, 1, 2].map(async (place) => {
    await using sql = administrator();
    const connection = await sql.reserve();
    await new Promise((resolve) => setTimeout(resolve, place * 10));
    while (!stopped) {
      await connection`SELECT pg_advisory_lock_shared(103)`;
      turns++;
      await new Promise((resolve) => setTimeout(resolve, 30));
      await connection`SELECT pg_advisory_unlock_shared(103)`;
    }
    connection.release();
  }));
  try {
    await (await advisoryLock(backend, 103, { shared: true })).release(); // opens the session
    await until("the readers overlap", () => turns > 6);
    const before = turns;
    const lock = await advisoryLock(backend, 103, { timeout: 30 });
    const meanwhile = turns - before;
    await lock.release();
    assert(meanwhile < 50, `${meanwhile} turns of readers before it`);
  } finally {
    stopped = true;
    await readers;
  }
});

test("advisoryLock: takes a fair share of the turns beside two programs in the server's queue", async () => {
  await using backend = await open();
  await using sql = administrator();
  const programs = [await sql.reserve(), await sql.reserve()];
  const turns = takeFairly((startAt) => {
    const theirs = programs.map((program) =>
      takeTurns(1, startAt, async () => {
        await program`SELECT pg_advisory_lock(113)`;
        return { release: () => program`SELECT pg_advisory_unlock(113)` };
      })
    );
    return [takeTurns(1, startAt, () => advisoryLock(backend, 113)), ...theirs];
  });
  await turns.finally(() => programs.forEach((program) => program.release()));
});

test("advisoryLock: readers of one backend do not starve its exclusive request", async () => {
  await using backend = await open();
  const reader = await advisoryLock(backend, 104, { shared: true });
  const waiting = advisoryLock(backend, 104, { timeout: 10 });
  await waits(104);
  assert.equal((await advisoryLock(backend, 104, { shared: true, wait: false })).acquired, false);
  await reader.release();
  await (await waiting).release();
});

test("advisoryLock: a transaction goes on after a time-out, and has its own limits after any wait", async () => {
  await using sql = administrator();
  const holder = await hold(105);
  await sql`CREATE TABLE kept (n int)`;
  await sql.begin(async (tx) => {
    await tx`SET LOCAL lock_timeout = '50ms'`;
    await tx`SET LOCAL statement_timeout = '2s'`;
    const before = await limits(tx);
    await tx`INSERT INTO kept VALUES (1)`;
    await assert.rejects(advisoryLock(tx, 105, { timeout: 0.3 }), { name: "LockTimeout" });
    assert.equal(await inQueue(105, false), 0);
    assert.deepEqual(await limits(tx), before);
    await assert.rejects(advisoryLock(tx, 105, { timeout: 0 }), { name: "LockTimeout" });
    const waiting = advisoryLock(tx, 105); // longer than the transaction's own limits
    await waits(105);
    await new Promise((resolve) => setTimeout(resolve, 2_100));
    await holder[Symbol.asyncDispose]();
    assert.equal((await waiting).acquired, true);
    assert.deepEqual(await limits(tx), before);
    await tx`INSERT INTO kept VALUES (2)`;
    assert.equal(await inQueue(105, true), 1);
  });
  assert.equal(await inQueue(105, true), 0);
  assert.deepEqual((await sql`SELECT n FROM kept ORDER BY n`).map(({ n }) => n), [1, 2]);
});

test("advisoryLock: calls at the same time in one transaction keep what each was granted", async () => {
  await using sql = administrator();
  const callTwice = async (client: Parameters<typeof advisoryLock>[0]) => {
    const holder = await hold(114);
    const failing = assert.rejects(advisoryLock(client, 114, { timeout: 2 }), { name: "LockTimeout" });
    await waits(114);
    const others = [115, 114].map((id) => advisoryLock(client, id, { timeout: 30 }));
    const abort = new AbortController();
    const ended = [
      assert.rejects(advisoryLock(client, 116, { signal: abort.signal }), { name: "AbortError" }),
      assert.rejects(advisoryLock(client, 116, { timeout: 0.2 }), { name: "LockTimeout" }),
    ];
    abort.abort();
    await Promise.all(ended);
    assert.equal(await inQueue(114, false), 1); // the first call still waits
    await failing;
    const [granted] = await Promise.all([others[0], waits(114)]);
    assert.equal(granted.acquired, true);
    assert.equal(await inQueue(115, true), 1);
    assert.equal(await inQueue(116, true), 0);
    await holder[Symbol.asyncDispose]();
    assert.equal((await others[1]).acquired, true);
    assert.equal((await advisoryLock(client, 114, { timeout: 0 })).acquired, true);
  };
  await sql.begin(async (tx) => {
    await callTwice(tx);
    await tx`SELECT 1`;
  });
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    await client.query("BEGIN");
    await callTwice(client);
    await client.query("COMMIT");
  } finally {
    await client.end();
  }
});

test("advisoryLock: a signal ends the wait, on a session and in a transaction that goes on", async () => {
  await using backend = await open();
  await using sql = administrator();
  await using _holder = await hold(106);
  const reason = new Error("enough");
  const abortWait = async (client: Parameters<typeof advisoryLock>[0]) => {
    const abort = new AbortController();
    const waiting = assert.rejects(advisoryLock(client, 106, { signal: abort.signal }), reason);
    await waits(106);
    abort.abort(reason);
    await waiting;
    assert.equal(await inQueue(106, false), 0);
  };
  await abortWait(backend);
  await assert.rejects(advisoryLock(backend, 106, { signal: AbortSignal.abort(reason) }), reason);
  await sql.begin(async (tx) => {
    await abortWait(tx);
    await tx`SELECT 1`;
  });
});

test("advisoryLock: nothing stays when the signal aborts in the moment of the grant", async () => {
  await using backend = await open();
  await using sql = administrator();
  for (let round = 0; round < 10; round++) {
    for (const client of [backend, sql]) {
      const abort = new AbortController();
      const attempt = (client: Parameters<typeof advisoryLock>[0]) =>
        advisoryLock(client, 107, { signal: abort.signal, timeout: 10 })
          .then((lock) => lock.release(), (error) => assert.equal(error.name, "AbortError"));
      const holder = await hold(107);
      const waiting = client === sql
        ? sql.begin(async (tx) => (await attempt(tx), await tx`SELECT 1`))
        : attempt(client);
      await waits(107);
      const released = holder[Symbol.asyncDispose]();
      await new Promise((resolve) => setTimeout(resolve, round * 0.3));
      abort.abort();
      await Promise.all([waiting, released]);
      if (client === sql) assert.equal(await inQueue(107, true), 0); // its transaction has ended
      else await isFree(107);
    }
  }
});

test("advisoryLock: disposing of the backend ends its waits and its locks", async () => {
  await using _holder = await hold(108);
  const backend = await open();
  const held = await advisoryLock(backend, 109);
  const waiting = assert.rejects(advisoryLock(backend, 108), { name: "BackendError", message: /disposed of/ });
  await waits(108);
  await backend[Symbol.asyncDispose]();
  await waiting;
  await isFree(109);
  await until("it waits no more", async () => await inQueue(108, false) === 0);
  assert.equal(await held.release(), false);
  await assert.rejects(advisoryLock(backend, 109), { name: "BackendError", message: /disposed of/ });
});

test("advisoryLock: a wait without a limit ends when the server goes silent, or ends the session", async () => {
  await using proxy = await Proxy.start(server.port);
  const url = `postgres://postgres@127.0.0.1:${proxy.port}/postgres`;
  await using backend = await connect(url, { table: freshTable(), sessionTimeout: 1.5 });
  await using sql = administrator();
  await using _holder = await hold(110);
  const lost = { name: "BackendError", retryable: true };
  const ended = assert.rejects(advisoryLock(backend, 110), lost);
  await waits(110);
  await sql`SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 110 AND NOT granted`;
  await ended;
  const silent = assert.rejects(advisoryLock(backend, 110), lost);
  const watchers = () => sql`SELECT FROM pg_stat_activity WHERE query LIKE '%AS server%' AND state = 'idle'`;
  await until("the server is watched", async () => (await watchers()).length > 0);
  proxy.swallow = "answers";
  await silent;
  proxy.swallow = undefined;
  proxy.cut();
  await until("the server has noticed", async () => await inQueue(110, false) === 0);
});

test("advisoryLock: a wait keeps a process alive that has nothing else to do", async () => {
  const holders = [await hold(111), await hold(112)];
  await using worker = start("tests/postgres/advisory_waiter.ts", [server.url, "111", "112"]);
  for (const [index, holder] of holders.entries()) {
    await waits(111 + index);
    await holder[Symbol.asyncDispose]();
    assert.equal(await worker.next(), true);
  }
  assert.equal(await worker.ended, 0);
});

test("advisoryLock: nothing stays of a process that is killed while it waits or holds", async () => {
  const random = seeded(SEED);
  const kill = async (round: number, moment = random.between(0, 300)) => {
    const id = 1_000 + round;
    await using _holder = await hold(id);
    await using worker = start("tests/postgres/advisory_worker.ts", [server.url, String(id)]);
    await worker.next();
    await new Promise((resolve) => setTimeout(resolve, moment));
    worker.child.kill("SIGKILL");
    assert.equal(await worker.ended, "SIGKILL");
    await using sql = administrator();
    const left = () =>
      sql`SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
      WHERE locktype = 'advisory' AND application_name = ${`worker ${id}`}`;
    const what = `nothing is left of process ${round} of seed ${SEED}, killed after ${moment} ms`;
    await until(what, async () => (await left()).length === 0);
  };
  for (let round = 0; round < KILLS; round += 2) await Promise.all([kill(round), kill(round + 1)]);
});
