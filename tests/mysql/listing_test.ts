import { type Backend, cleanLocks, getLock, listLocks } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { Statements } from "../../backends/mysql/rows/statements.ts";
import { entryOf } from "../../backends/shared/line.ts";
import { onEach, type Place } from "./flavors.ts";

const common = { duration: 60e6, lockedBy: "host", lockProcess: null, metadata: null, limit: 1 };

/** What the index of what is held looks at, by name. */
async function places(place: Place): Promise<Record<string, number>> {
  const rows = await place.ask("SELECT name, listed FROM lockmgr_locks");
  return Object.fromEntries(rows.map(({ name, listed }) => [String(name), Number(listed)]));
}

/** As if so many seconds had gone by since the rows were last written. */
async function pass(place: Place, seconds: number): Promise<void> {
  await place.ask(`UPDATE lockmgr_locks SET updated_at = updated_at - ${seconds * 1e6}`);
}

/** Takes names and says how to release them. */
async function take(backend: Backend, names: readonly string[]): Promise<() => Promise<unknown>> {
  const locks = await Promise.all(names.map((name) => getLock(name, { backend, expires: 60 })));
  return () => Promise.all(locks.map((lock) => lock.unlock()));
}

for (const mode of ["lease", "hybrid"] as const) {
  for (const names of [["a"], ["a", "b", "c"]]) {
    onEach(
      `${mode}: of ${names.length}, who is taken often keeps its place in the index, others leave it`,
      async (place) => {
        const backend = await place.backend({ mode });
        const another = await place.backend({ mode }); // it has not seen the names, and takes them by another statement
        const all = (listed: number) => Object.fromEntries(names.map((name) => [name, listed]));
        const listed = async () => (await listLocks({ backend })).map(({ name }) => name);
        for (const taker of [backend, another]) {
          for (const round of [1, 2, 3]) {
            const release = await take(taker, names);
            assert.deepEqual(await places(place), all(round === 1 ? 1 : 2), `taken, ${round}`);
            assert.deepEqual(await listed(), names);
            await release();
            assert.deepEqual(await places(place), all(round === 1 ? 0 : 2), `released, ${round}`);
            assert.deepEqual(await listed(), []);
          }
          await pass(place, 11);
        }
        await take(another, names);
        assert.deepEqual(await places(place), all(1), "taken after a while");
        await place.ask("UPDATE lockmgr_locks SET locked_until = updated_at + 1");
        assert.deepEqual(await listed(), []);
        assert.equal((await listLocks({ backend, includeExpired: true })).length, names.length);
        await pass(place, 7);
        await take(backend, names);
        assert.deepEqual(await places(place), all(2), "taken from a holder that did not renew");
        await place.ask("UPDATE lockmgr_locks SET locked_until = 1, listed = 1");
        assert.equal(await cleanLocks({ backend }), names.length);
        assert.deepEqual(await places(place), all(0), "cleaned");
      },
    );
  }
}

onEach("list: rows are sorted by name and filtered by prefix, wherever in the index they are", async (place) => {
  const backend = await place.backend();
  const names = ["a", "a\u{10ffff}", "a\u{10ffff}z", "a%", "aa", "b", "a ", "a\uffff", "A"];
  for (const [index, name] of names.entries()) {
    const often = index % 2 === 1;
    if (often) await getLock(name, { backend }).then((lock) => lock.unlock());
    await getLock(name, { backend });
    assert.equal((await places(place))[name], often ? 2 : 1);
  }
  const listed = async (prefix?: string) => (await listLocks({ backend, prefix })).map(({ name }) => name);
  const ordered = ["A", "a", "a ", "a%", "aa", "a\uffff", "a\u{10ffff}", "a\u{10ffff}z", "b"];
  assert.deepEqual(await listed(), ordered);
  assert.deepEqual(await listed("a"), ordered.slice(1, -1));
  assert.deepEqual(await listed("a\u{10ffff}"), ordered.slice(-3, -1));
  assert.deepEqual(await listed("a%"), ["a%"]);
});

onEach("list: only lists use the index of held rows", async (place) => {
  await place.backend();
  const sql = new Statements("lockmgr_locks", false);
  const names = Array.from({ length: 20 }, (_, index) => `lock ${index}`);
  const requests = names.map((name) => ({ name, owner: crypto.randomUUID(), ...common }));
  const renewals = requests.map((request) => ({ ...request, from: "now" as const, add: 1e6 }));
  const lists = [
    sql.list("", false),
    sql.list("", true),
    sql.list("lock", false),
    sql.selectClearable("all"),
    sql.selectClearable("expired"),
  ];
  const others = [
    sql.acquire(requests, false),
    sql.acquire(requests, true),
    sql.reacquireAll(requests),
    sql.reacquire(requests[0]),
    sql.renew(renewals[0]),
    sql.renewAll(renewals),
    sql.release(requests[0]),
    sql.releaseAll(requests),
    sql.selectLive(names),
    sql.selectLive(names, requests),
    sql.clear(names, "all"),
    sql.selectStale(),
    sql.deleteStale(names),
    sql.selectTurns(names.map((name) => ({ name, token: "0" }))),
    sql.selectLine(names[0]),
    sql.confirm(requests[0]),
    sql.enter({ ...requests[0], window: 1e6 }, entryOf(requests[0], 0)),
    sql.handOff(requests[0])!,
    sql.guard(requests[0]),
  ];
  const format = place.flavor.name === "mysql" ? "FORMAT=TRADITIONAL" : "";
  const uses = async (statement: string) => {
    const rows = await place.ask(`EXPLAIN ${format} ${statement}`);
    return rows.some(({ key }) => key === "listed");
  };
  for (const fill of ["SELECT 1", sql.acquire(requests, false), "ANALYZE TABLE lockmgr_locks"]) {
    await place.ask(fill);
    for (const statement of lists) assert.equal(await uses(statement), true, statement);
    for (const statement of others) assert.equal(await uses(statement), false, statement);
  }
});
