import { type Backend, getLock, listLocks, Locked, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import type { LivenessLock } from "../../backends/sessions/liveness.ts";
import { Statements } from "../../backends/mysql/rows/statements.ts";
import { onEach } from "./flavors.ts";
import { statements, writtenBy } from "./counting.ts";

/** Seconds: so long that no heartbeat is counted, also where the machine stands still in the middle of a test. */
const sessionTimeout = 600;

/** Whether an error says that this test's other host has the lock. */
function hasHolder(error: unknown): boolean {
  return error instanceof Locked && error.holder?.lockedBy === "host-a";
}

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: one statement to acquire, to renew and to release`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout });
    await getLock("warm", { backend }).then((lock) => lock.unlock());
    for (const round of ["fresh", "kept"]) {
      const names = Array.from({ length: 10 }, (_, index) => `lock ${index}`);
      const locks: Awaited<ReturnType<typeof getLock>>[] = [];
      const acquiring = await statements(place, async () => {
        for (const name of names) locks.push(await getLock(name, { backend, expires: 60 }));
      });
      assert.equal(acquiring, 10, `acquire, ${round}`);
      const renewing = await statements(place, async () => {
        for (const lock of locks) await lock.renew({ expires: 120 });
      });
      assert.equal(renewing, 10, `renew, ${round}`);
      const adding = await statements(place, async () => {
        for (const lock of locks) await lock.renew({ expires: 60, addTime: true });
      });
      assert.equal(adding, 10, `add time, ${round}`);
      const releasing = await statements(place, async () => {
        for (const lock of locks) assert.equal(await lock.unlock(), true);
      });
      assert.equal(releasing, 10, `release, ${round}`);
    }
  });

  onEach(`${mode}: a failed attempt is one statement, the first one two, and writes nothing`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout });
    const other = await place.backend({ mode, sessionTimeout });
    await getLock("a", { backend, lockedBy: "host-a" });
    const trying = await statements(place, async () => {
      for (let index = 0; index < 20; index++) assert.equal(await tryLock("a", { backend: other }), undefined);
    });
    // The first also reads the holder: no statement of both servers answers with that.
    assert.equal(trying, 21);
    const asking = (backend: Backend) =>
      statements(place, async () => {
        for (let index = 0; index < 20; index++) await assert.rejects(getLock("a", { backend }), hasHolder);
      });
    assert.equal(await asking(other), 20);
    await place.ask("UPDATE lockmgr_locks SET locked_by = 'host-c', updated_at = updated_at + 1");
    await assert.rejects(getLock("a", { backend: other }), (error: Locked) => error.holder?.lockedBy === "host-c");
    await place.ask("UPDATE lockmgr_locks SET locked_by = 'host-a', updated_at = updated_at + 1");
    assert.equal(await asking(await place.backend({ mode, sessionTimeout })), 21);
    await Promise.all([tryLock("a", { backend: other }), assert.rejects(getLock("a", { backend: other }), hasHolder)]);
    await Promise.all([assert.rejects(getLock("a", { backend: other }), hasHolder), tryLock("a", { backend: other })]);
    const common = { duration: 60e6, lockedBy: "host-b", lockProcess: null, metadata: null, limit: 1 };
    const repeated = { name: "b", owner: crypto.randomUUID(), ...common };
    const [first] = await other.acquire([repeated]); // an answer that is lost
    const [second] = await other.acquire([repeated]);
    assert(first.granted && second.granted && second.row.token === first.row.token);
    assert.equal(await writtenBy(place, () => tryLock("a", { backend: other })), 0n);
    const fresh = async () => {
      const another = await place.backend({ mode, sessionTimeout });
      assert.equal(await tryLock("a", { backend: another }), undefined);
    };
    assert.equal(await writtenBy(place, fresh), 0n);
  });

  onEach(
    `${mode}: the first failed try on a name that was used before writes nothing`,
    async (place) => {
      const backend = await place.backend({ mode, sessionTimeout });
      const other = await place.backend({ mode, sessionTimeout });
      const names = Array.from({ length: 10 }, (_, index) => `lock ${index}`);
      for (const name of names) await getLock(name, { backend: other }).then((lock) => lock.unlock());
      for (const name of names) await getLock(name, { backend });
      const trying = await statements(place, async () => {
        for (const name of names) assert.equal(await tryLock(name, { backend: other }), undefined);
      });
      assert.equal(trying, 20); // each also reads the holder
      const common = { duration: 60e6, lockedBy: "host-b", lockProcess: null, metadata: null, limit: 1 };
      const sql = new Statements("lockmgr_locks", mode === "hybrid");
      const retake = () => place.ask(sql.reacquire({ name: names[0], owner: crypto.randomUUID(), ...common }));
      assert.equal(await writtenBy(place, retake), 0n);
    },
  );

  onEach(`${mode}: a name whose holder was seen again and again is acquired once that has left`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout });
    const other = await place.backend({ mode, sessionTimeout });
    for (const end of ["unlock", "expiry", "deletion"]) {
      const lock = await getLock("a", { backend });
      for (let round = 0; round < 4; round++) assert.equal(await tryLock("a", { backend: other }), undefined);
      if (end === "unlock") await lock.unlock();
      if (end === "expiry") await place.ask("UPDATE lockmgr_locks SET locked_until = 1");
      if (end === "deletion") await place.ask("DELETE FROM lockmgr_locks");
      const next = await tryLock("a", { backend: other });
      assert(next !== undefined && next.token > lock.token, end);
      await next.unlock();
    }
  });

  onEach(`${mode}: a known name whose row was deleted is acquired`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout });
    await getLock("a", { backend }).then((lock) => lock.unlock());
    await place.ask("DELETE FROM lockmgr_locks");
    const lock = await tryLock("a", { backend });
    assert.equal(await lock?.verify(), true);
  });

  onEach(`${mode}: a repeated request finds its own row, also for a known name`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout });
    await getLock("a", { backend }).then((lock) => lock.unlock());
    const common = { duration: 60e6, lockedBy: "host-b", lockProcess: 7, metadata: "{}", limit: 1 };
    const request = { name: "a", owner: crypto.randomUUID(), ...common };
    const [first] = await backend.acquire([request]); // an answer that is lost
    const [second] = await backend.acquire([request]);
    assert(first.granted && second.granted);
    const { now: _, ...row } = first.row;
    const { now: __, ...again } = second.row;
    assert.deepEqual(again, row);
    assert.deepEqual(await backend.release([request]), [true]);
  });

  onEach(
    `${mode}: a name that was used before is taken with a higher token, also of a clock that was set back`,
    async (place) => {
      const backend = await place.backend({ mode, sessionTimeout });
      await getLock("a", { backend }).then((lock) => lock.unlock());
      const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
      await place.ask(`UPDATE lockmgr_locks SET token = ${ahead}`);
      const lock = await getLock("a", { backend, metadata: { shard: "ä'" } });
      assert.equal(lock.token, ahead + 1n);
      assert(lock.createdAt.getTime() < Date.now() + 60_000);
      const [record] = await listLocks({ backend });
      assert.equal(record.token, lock.token);
      assert.deepEqual(record.metadata, { shard: "ä'" });
      assert.equal(await lock.unlock(), true);
    },
  );
}

onEach("session: one statement to acquire, to release and to fail", async (place) => {
  const backend = await place.backend({ mode: "session", sessionTimeout });
  const other = await place.backend({ mode: "session", sessionTimeout });
  const locks: Awaited<ReturnType<typeof getLock>>[] = [];
  const acquiring = await statements(place, async () => {
    for (let index = 0; index < 10; index++) locks.push(await getLock(`lock ${index}`, { backend }));
  });
  assert.equal(acquiring, 10);
  const failing = await statements(place, async () => {
    for (const { name } of locks) assert.equal(await tryLock(name, { backend: other }), undefined);
  });
  assert.equal(failing, 10);
  const releasing = await statements(place, async () => {
    for (const lock of locks) assert.equal(await lock.unlock(), true);
  });
  assert.equal(releasing, 10);
});

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: a batch acquires all names but the held one, wherever that is`, async (place) => {
    const holder = await place.backend({ mode, sessionTimeout });
    for (const held of ["a", "b", "c"]) {
      const backend = await place.backend({ mode, sessionTimeout }); // one that knows of nobody
      const lock = await getLock(held, { backend: holder });
      const common = { duration: 60e6, lockedBy: "host-b", lockProcess: null, metadata: null, limit: 1 };
      const requests = ["a", "b", "c"].map((name) => ({ name, owner: crypto.randomUUID(), ...common }));
      const answers = await backend.acquire(requests);
      assert.deepEqual(answers.map(({ granted }) => granted), requests.map(({ name }) => name !== held));
      assert.equal(await lock.verify(), true);
      await backend.release(requests);
      await lock.unlock();
    }
  });
}

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: a lease that expires before its answer is granted all the same`, async (place) => {
    const backend = await place.backend({ mode, sessionTimeout });
    const common = { duration: 1, lockedBy: "host-a", lockProcess: null, metadata: null, limit: 1 };
    for (const names of [["a"], ["b", "c"], ["b", "c"]]) {
      const requests = names.map((name) => ({ name, owner: crypto.randomUUID(), ...common }));
      const answers = await backend.acquire(requests);
      assert(answers.every(({ granted }) => granted), names.join());
    }
  });
}

onEach("a batch of names takes few statements", async (place) => {
  const backend = await place.backend();
  const requests = Array.from({ length: 100 }, (_, index) => {
    const common = { duration: 60e6, lockedBy: "host-a", lockProcess: null, metadata: null, limit: 1 };
    return { name: `lock ${index}`, owner: crypto.randomUUID(), ...common };
  });
  const acquiring = await statements(place, async () => {
    const answers = await backend.acquire(requests);
    assert(answers.every(({ granted }) => granted));
  });
  assert.equal(acquiring, 1);
  const renewing = await statements(place, async () => {
    const rows = await backend.renew(requests.map(({ name, owner }) => ({ name, owner, from: "now", add: 90e6 })));
    assert(rows.every((row) => row !== undefined));
  });
  assert.equal(renewing, 2); // extend, read
});

onEach("the tokens of a batch are those of the rows, also after the clock was set back", async (place) => {
  const backend = await place.backend();
  const names = Array.from({ length: 20 }, (_, index) => `lock ${index}`);
  const take = () => Promise.all(names.map((name) => getLock(name, { backend })));
  const release = (locks: Awaited<ReturnType<typeof take>>) => Promise.all(locks.map((lock) => lock.unlock()));
  await release(await take());
  const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
  await place.ask(`UPDATE lockmgr_locks SET token = ${ahead} WHERE name IN ('lock 3', 'lock 7')`);
  const locks = await take();
  const rows = new Map(
    (await place.ask("SELECT name, token FROM lockmgr_locks")).map((row) => [String(row.name), row]),
  );
  for (const { name, token } of locks) assert.equal(String(token), String(rows.get(name)!.token), name);
  assert.equal(locks[3].token, ahead + 1n);
  assert.equal(locks[7].token, ahead + 1n);
  await release(locks);
});

onEach("a batch of known names is one statement, and one to release", async (place) => {
  const backend = await place.backend();
  const names = Array.from({ length: 50 }, (_, index) => `lock ${index}`);
  const requests = () =>
    names.map((name) => ({
      name,
      owner: crypto.randomUUID(),
      duration: 60e6,
      lockedBy: "host",
      lockProcess: null,
      metadata: null,
      limit: 1,
    }));
  await backend.release(await (async (wanted) => (await backend.acquire(wanted), wanted))(requests()));
  const wanted = requests();
  assert.equal(await statements(place, async () => void await backend.acquire(wanted)), 1);
  assert.equal(await statements(place, async () => void await backend.release(wanted)), 1);
});

onEach("no row is acquired for a session that has ended before its end was noticed", async (place) => {
  const backend = await place.backend({ mode: "hybrid" });
  await getLock("a", { backend }).then((lock) => lock.unlock());
  const sql = new Statements("lockmgr_locks", true);
  const common = { duration: 60e6, lockedBy: "host", lockProcess: null, metadata: null, limit: 1 };
  const requests = ["a", "b"].map((name) => ({ name, owner: crypto.randomUUID(), ...common }));
  const gone = { key: "of no session", session: { id: "1" } } as LivenessLock;
  await place.ask(
    sql.acquire(requests, false, gone),
    sql.acquire(requests, true, gone),
    sql.reacquireAll(requests, gone),
  );
  const rows = await place.ask("SELECT name FROM lockmgr_locks WHERE NOT locked_until <=> 0");
  assert.deepEqual(rows, []);
});

onEach("waiters of many clients stay in a queue with two statements each", async (place) => {
  const holder = await place.backend();
  await getLock("a", { backend: holder });
  const others = await Promise.all(Array.from({ length: 8 }, () => place.backend()));
  const common = { name: "a", duration: 60e6, lockedBy: "host-b", lockProcess: null, metadata: null, limit: 1 };
  const owners = others.map(() => crypto.randomUUID());
  for (const [index, owner] of owners.entries()) {
    const [answer] = await others[index].acquire([{ ...common, owner, window: 60e6 }]);
    assert(!answer.granted && answer.position === index + 1);
  }
  const extending = await statements(place, async () => {
    await Promise.all(
      others.map((other, index) => other.acquire([{ ...common, owner: owners[index], window: 900e6 }])),
    );
  });
  const [{ line, now }] = await place.ask("SELECT line, UNIX_TIMESTAMP() AS now FROM lockmgr_locks WHERE name = 'a'");
  const entries: { owner: string; until: number }[] = JSON.parse(String(line));
  assert.deepEqual(entries.map(({ owner }) => owner), owners);
  for (const { until } of entries) assert(until / 1e6 - Number(now) > 600);
  assert.equal(extending, 2 * others.length);
});
