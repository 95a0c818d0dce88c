/** How a release hands a lock over to a waiter that listens: by one statement, which the waiter believes in hybrid mode. */
import { connect, getLock, listLocks } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import type postgres from "postgres";
import { ServerClock } from "../../backends/postgres/queue/server_clock.ts";
import { namespaceOf } from "../../backends/postgres/schema.ts";
import { later } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { administrator, channelOf, freshTable, listeners, server, until } from "./server.ts";

/** How many statements about a table were sent, without the polls of waiters or with them alone. */
async function sent(sql: postgres.Sql, table: string, polls = false): Promise<number> {
  const [{ calls }] = await sql`
    SELECT coalesce(sum(calls), 0)::int AS calls FROM pg_stat_statements
    WHERE query LIKE ${`%${table}"%`} AND (query LIKE '%SELECT request.name, (held.liveness%') = ${polls}`;
  return calls;
}

/** The same after a moment. */
async function settled(sql: postgres.Sql, table: string): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, 50));
  return await sent(sql, table);
}

/** How many statements hand a lock over: the first release, one where a waiter is likely, and one of a shared waiter. */
async function handOvers(mode: "lease" | "hybrid"): Promise<number[]> {
  await using sql = administrator();
  await sql`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`;
  const table = freshTable();
  await using backend = await connect(server.url, { mode, table });
  await using other = await connect(server.url, { mode, table });
  await sql.unsafe(`
    CREATE TABLE ${table}_commits (value text);
    CREATE FUNCTION ${table}_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO ${table}_commits VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
      WHEN (OLD.owner <> NEW.owner) EXECUTE FUNCTION ${table}_note()`);
  const counts: number[] = [];
  for (const name of ["written", "written", "read"]) {
    const shared = name === "read";
    const holder = await getLock(name, { backend });
    const waiting = later(getLock(name, { backend: other, wait: 30, expires: 60, shared, metadata: { step: 1 } }));
    await channelOf(sql, table, name);
    let before = -1;
    await until("it asks no more", async () => before === (before = await settled(sql, table)));
    await holder.unlock();
    const lock = await waiting;
    counts.push(await sent(sql, table) - before);
    assert(lock.expiresIn! > 50, `${lock.expiresIn} s are left of the lease`);
    assert(lock.token > holder.token);
    assert.equal(await lock.verify(), true);
    const [{ token, metadata, limit }] = await listLocks({ backend, names: [name] });
    assert.deepEqual([token, metadata, limit], [lock.token, lock.metadata, lock.limit]);
    await lock.unlock();
  }
  const values = await sql.unsafe(`SELECT value FROM ${table}_commits`);
  // a grant that its waiter confirms durably may be lost in a crash
  assert.deepEqual(values.map(({ value }) => value), Array(3).fill(mode === "lease" ? "off" : "on"));
  return counts;
}

for (const mode of ["lease", "hybrid"] as const) {
  const confirms = mode === "lease" ? 1 : 0;
  test(`${mode}: a release where a waiter is likely is one statement, and the waiter sends ${confirms}`, async () => {
    // a waiter is likely where one was at the last release; shared locks take the statement for any queue
    const expected = [2, 1, 2].map((statements) => statements + confirms);
    let counts: number[] = [];
    for (let tries = 0; tries < 3 && `${counts}` !== `${expected}`; tries++) {
      counts = await handOvers(mode);
      assert(counts.every((count, index) => count >= expected[index]), `${counts}`);
    }
    assert.deepEqual(counts, expected); // a poll at the moment of a release makes the waiter ask once more
  });
}

test("a waiter asks the server about a grant that its clock cannot judge", async () => {
  await using sql = administrator();
  const table = freshTable();
  await using backend = await connect(server.url, { mode: "hybrid", table });
  await using other = await connect(server.url, { mode: "hybrid", table });
  const holder = await getLock("a", { backend });
  const waiting = later(getLock("a", { backend: other, wait: 30, expires: 10 }));
  const channel = await channelOf(sql, table, "a");
  const [{ owner }] = await sql.unsafe(`SELECT line[1]->>'owner' AS owner FROM ${table}`);
  const namespace = namespaceOf(`public.${table}`);
  for (const offset of [-5e6, 5e6]) { // half of the lease seems to be over; the server's clock seems to have been set
    const before = await sent(sql, table);
    await sql`SELECT pg_notify(${channel}, json_build_array(${namespace}::text, 'a', ${owner}::text, 1,
      (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + ${offset}::bigint, 0)::text)`;
    await until("it asks", async () => await sent(sql, table) - before >= 2); // to confirm it, and to find its place
  }
  assert.equal((await listLocks({ backend }))[0].token, holder.token);
  await holder.unlock();
  await (await waiting).unlock();
});

test("what the server's clock shows is known for a few seconds after its answer", () => {
  const clock = new ServerClock();
  assert.equal(clock.latest(), undefined);
  clock.note(performance.now() - 1_000, "5000000");
  assert(clock.latest()! >= 6_010_000); // it may have run 1 % faster
  clock.note(performance.now() - 6_000, "1");
  assert(clock.latest()! >= 6_010_000, "an earlier answer counts for more");
  const old = new ServerClock();
  old.note(performance.now() - 6_000, "5000000");
  assert.equal(old.latest(), undefined);
});

test("a waiter whose listening connection ends keeps its place", async () => {
  await using sql = administrator();
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  await using first = await connect(server.url, { table, sessionTimeout: 16 }); // with a connection of its own
  await using second = await connect(server.url, { table, sessionTimeout: 17 });
  const holder = await getLock("a", { backend });
  const order: string[] = [];
  const wait = async (who: typeof first, name: string) => {
    await using _lock = await getLock("a", { backend: who, wait: 30 });
    order.push(name);
  };
  const waits = [later(wait(first, "first"))];
  const channel = await channelOf(sql, table, "a");
  const pids = await listeners(sql);
  waits.push(later(wait(second, "second")));
  // Until it listens, the second changes the queue. A change removes waiters whose connection has ended: the first, if
  // it has not asked again by then.
  const secondOne = `SELECT line[2]->>'listener' AS channel FROM ${table}`;
  await until("both listen", async () => (await sql.unsafe(secondOne))[0].channel != null);
  for (const pid of pids) await sql`SELECT pg_terminate_backend(${pid}::int)`; // those of earlier tests may be there still
  await until("it listens again", async () => await channelOf(sql, table, "a") !== channel);
  await holder.unlock();
  await Promise.all(waits);
  assert.deepEqual(order, ["first", "second"]);
});

test("waiters behind the first leave the server alone", async () => {
  await using sql = administrator();
  await sql`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`;
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  const holder = await getLock("a", { backend });
  await using stack = new AsyncDisposableStack();
  const waits: Promise<void>[] = [];
  const others: (typeof backend)[] = [];
  for (let index = 0; index < 12; index++) { // each listens on a connection of its own, as each process does
    const other = stack.use(await connect(server.url, { table, sessionTimeout: 20 + index }));
    others.push(other);
    waits.push(getLock("a", { backend: other, wait: 30 }).then(async (lock) => void await lock.unlock()));
    await until("it waits", async () => (await listLocks({ backend }))[0].waiters === index + 1);
  }
  const isKept = `SELECT count(*)::int AS kept FROM ${table}, unnest(line) AS v WHERE v->>'listener' <> ''`;
  await until("all listen", async () => (await sql.unsafe(isKept))[0].kept === waits.length);
  await new Promise((resolve) => setTimeout(resolve, 1_000)); // the first polls find out the places
  const countedAt = performance.now();
  const before = [await sent(sql, table), await sent(sql, table, true)];
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  const during = [await sent(sql, table) - before[0], await sent(sql, table, true) - before[1]];
  assert.equal(during[0], 0, "statements beside the polls");
  const seconds = (performance.now() - countedAt) / 1e3;
  // 1 + 1/2 + … + 1/12 = 3.1 a second, a quarter sooner or later; one a second of each would be 12
  assert(during[1] <= 5 * seconds, `${during[1]} polls in ${seconds} s`);
  // the last one, which polls seldom, waits for another name, too: there it is the first
  const inTheWay = await getLock("b", { backend });
  const next = later(getLock("b", { backend: others.at(-1)!, wait: 30 }));
  await channelOf(sql, table, "b");
  await sql.unsafe(`DELETE FROM ${table} WHERE name = 'b'`); // nothing tells of that
  const from = performance.now();
  await (await next).unlock();
  assert(performance.now() - from < 4_000, "polled when the other name was due");
  assert.equal(await inTheWay.verify(), false);
  await holder.unlock();
  await Promise.all(waits);
});
