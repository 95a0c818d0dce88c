import { cleanLocks, connect, getLock, listLocks, resetLocks, unlock } from "@lockmgr/lockmgr";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { later, within } from "../conformance/case.ts";
import { test } from "../harness.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { administrator, channelOf, freshTable, server, until } from "./server.ts";

test("release: a confirmed release of a long lease survives a server crash", async () => {
  await using own = await PostgresServer.start({
    settings: { wal_writer_delay: "10s", wal_writer_flush_after: "1GB" },
  });
  const table = freshTable();
  for (const lasting of [["alone"], ["one", "of", "three"]]) {
    await using backend = await connect(own.url, { table });
    const locks = await Promise.all(lasting.map((name) => getLock(name, { backend, expires: null })));
    for (const released of await Promise.all(locks.map((lock) => lock.unlock()))) assert.equal(released, true);
    await own.crash();
    await own.start();
    assert.deepEqual(await listLocks({ backend }), []);
  }
});

for (const setting of ["on", "off"]) {
  test(`release: only a lease that expires soon is released without waiting for the disk (synchronous_commit = ${setting})`, async () => {
    await using sql = administrator();
    const table = freshTable();
    const options = encodeURIComponent(`-c synchronous_commit=${setting}`);
    await using backend = await connect(`${server.url}?options=${options}`, { table });
    await sql.unsafe(`
      CREATE TABLE ${table}_commits (name text, value text);
      CREATE FUNCTION ${table}_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO ${table}_commits VALUES (NEW.name, current_setting('synchronous_commit')); RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER note AFTER UPDATE ON ${table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
        WHEN (NEW.owner IS NULL) EXECUTE FUNCTION ${table}_note()`);
    const take = (names: string[], expires: number | null) =>
      Promise.all(names.map((name) => getLock(name, { backend, expires })));
    for (const [name, expires] of [["soon", 600], ["never", null], ["late", 1_000], ["sooner", 890]] as const) {
      const [lock] = await take([name], expires);
      assert.equal(await lock.unlock(), true);
    }
    await take(["forced"], 3_600);
    assert.equal(await unlock("forced", { backend }), true);
    const [renewed] = await take(["renewed"], 60);
    await renewed.renew({ expires: 3_600 });
    assert.equal(await renewed.unlock(), true);
    const crowds = [await take(["s1", "s2"], 600), await take(["l1", "l2"], 3_600)];
    crowds.push([...await take(["m1", "m2"], 600), ...await take(["m3"], null)]); // one of them lasts
    for (const crowd of crowds) await backend.release(crowd.map(({ name }) => ({ name, owner: null })));
    await take(["reset"], null);
    await resetLocks({ backend });
    const noted = await sql.unsafe(`SELECT DISTINCT name, value FROM ${table}_commits ORDER BY name`);
    const by = (wanted: string) => noted.filter(({ value }) => value === wanted).map(({ name }) => name);
    assert.deepEqual(by("off"), ["s1", "s2", "soon", "sooner"]);
    assert.deepEqual(by("on"), ["forced", "l1", "l2", "late", "m1", "m2", "m3", "never", "renewed", "reset"]);
  });
}

test("resetLocks with a waiter among 30,000 locks wakes the waiter", async () => {
  await using sql = administrator();
  const table = freshTable();
  await using backend = await connect(server.url, { table });
  await using other = await connect(server.url, { table });
  await within(500, async (tries) => { // the waiter's own poll would come after a second
    const held = await getLock("awaited", { backend, expires: null });
    await sql.unsafe(`
      INSERT INTO ${table} (name, owner, token, locked_by, created_at, updated_at)
      SELECT 'name ${tries} ' || n, 'x', 1, 'host', now(), now() FROM generate_series(1, 30000) AS n`);
    const waiting = later(getLock("awaited", { backend: other, wait: 30 }));
    await channelOf(sql, table, "awaited");
    assert.equal(await resetLocks({ backend }), 30_001);
    const resetAt = performance.now();
    const next = await waiting;
    const after = performance.now() - resetAt;
    assert(next.token > held.token);
    await next.unlock();
    const releaseTook = performance.now() - resetAt - after; // on a busy machine each statement takes its time
    assert.equal(await cleanLocks({ backend }), 0);
    return after - releaseTook;
  });
});

test("a batch of releases takes a bounded number of server locks and wakes waiters", async () => {
  await using sql = administrator();
  for (const mode of ["lease", "hybrid", "session"] as const) {
    const table = freshTable();
    await using backend = await connect(server.url, { mode, table });
    await using other = await connect(server.url, { mode, table });
    const rest = { duration: null, lockedBy: "x", lockProcess: null, metadata: null, limit: 1 };
    const requests = Array.from({ length: 400 }, (_, n) => ({ name: `name ${n}`, owner: `owner ${n}`, ...rest }));
    assert((await backend.acquire(requests)).every(({ granted }) => granted));
    const waiting = later(getLock("name 77", { backend: other, wait: 30 }));
    await until("it waits", async () => {
      if (mode !== "session") return (await listLocks({ backend, names: ["name 77"] }))[0].waiters === 1;
      return (await sql`SELECT FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ShareLock'`).length > 1;
    });
    const heard: string[] = [];
    const channel = mode === "session" ? "lockmgr" : await channelOf(sql, table, "name 77");
    const { unlisten } = await sql.listen(channel, (payload) => heard.push(payload));
    assert((await backend.release(requests)).every((released) => released));
    const lock = await waiting;
    await until("it is told", () => heard.length > 0);
    await unlisten();
    assert.match(heard.join(), mode === "session" ? /^-?\d+$/ : /^\["[^"]+", "name 77", "[^"]+", \d+, \d+, 0\]$/); // once
    await lock.unlock();
  }
});

test("a batch releases a lock whose last waiter leaves meanwhile", async () => {
  await using sql = administrator();
  const table = freshTable();
  let meanwhile: (() => Promise<void>) | undefined;
  await using backend = await postgresBackend(async (text, parameters) => {
    const rows = await sql.unsafe(text, parameters as string[]);
    await meanwhile?.();
    return rows;
  }, { table });
  await using other = await connect(server.url, { table });
  const names = ["a", "b"];
  for (const name of names) await getLock(name, { backend });
  const leaving = new AbortController();
  const waiting = later(getLock("a", { backend: other, wait: 30, signal: leaving.signal }));
  const waits = async () => (await listLocks({ backend: other, names: ["a"] }))[0].waiters === 1;
  await until("it waits", waits);
  meanwhile = async () => {
    meanwhile = undefined;
    leaving.abort(new Error("left"));
    await assert.rejects(waiting, /left/);
    await until("it waits no more", async () => !await waits());
  };
  assert.deepEqual(await backend.release(names.map((name) => ({ name, owner: null }))), [true, true]);
  assert.deepEqual(await listLocks({ backend }), []);
});
