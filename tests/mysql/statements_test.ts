import { getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { onEach, type Place } from "./flavors.ts";

/** Statements that the server was sent while `body` ran, without those that count them. */
async function statements(place: Place, body: () => Promise<void>): Promise<number> {
  const questions = async () => Number((await place.ask("SHOW GLOBAL STATUS LIKE 'Questions'"))[0].Value);
  const idle = -await questions() + await questions(); // what the counting itself costs
  const before = await questions();
  await body();
  return await questions() - before - idle;
}

/** The position up to which the server has written its redo log. */
async function written(place: Place): Promise<bigint> {
  const [{ Status }] = await place.ask("SHOW ENGINE INNODB STATUS");
  return BigInt(/Log sequence number\s+(\d+)/.exec(Status)![1]);
}

/** Bytes that the server wrote for each of 20 calls. What it writes on its own account is avoided by trying again. */
async function writtenBy(place: Place, call: () => Promise<unknown>): Promise<bigint> {
  let least: bigint | undefined;
  for (let round = 0; round < 10 && least !== 0n; round++) {
    const before = await written(place);
    for (let index = 0; index < 20; index++) await call();
    const bytes = await written(place) - before;
    if (least === undefined || bytes < least) least = bytes;
  }
  return least! / 20n;
}

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: one statement to acquire, to renew and to release`, async (place) => {
    const backend = await place.backend({ mode });
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

  onEach(`${mode}: a failed try is one statement and writes nothing`, async (place) => {
    const backend = await place.backend({ mode });
    const other = await place.backend({ mode });
    await getLock("a", { backend, lockedBy: "host-a" });
    assert.equal(await tryLock("a", { backend: other }), undefined); // the first try also reads who has it
    const trying = await statements(place, async () => {
      for (let index = 0; index < 20; index++) assert.equal(await tryLock("a", { backend: other }), undefined);
    });
    assert.equal(trying, 20);
    assert.equal(await writtenBy(place, () => tryLock("a", { backend: other })), 0n);
    const fresh = async () => {
      const another = await place.backend({ mode });
      assert.equal(await tryLock("a", { backend: another }), undefined);
    };
    assert.equal(await writtenBy(place, fresh), 0n);
  });
}

onEach("session: one statement to acquire, to release and to fail", async (place) => {
  const backend = await place.backend({ mode: "session" });
  const other = await place.backend({ mode: "session" });
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

onEach("a batch of names takes few statements", async (place) => {
  const backend = await place.backend();
  const requests = Array.from({ length: 100 }, (_, index) => {
    const common = { duration: 60e6, lockedBy: "host-a", lockProcess: null, metadata: null, shared: false };
    return { name: `lock ${index}`, owner: crypto.randomUUID(), ...common };
  });
  const acquiring = await statements(place, async () => {
    const answers = await backend.acquire(requests);
    assert(answers.every(({ granted }) => granted));
  });
  assert.equal(acquiring, 3); // look, take, read
  const renewing = await statements(place, async () => {
    const rows = await backend.renew(requests.map(({ name, owner }) => ({ name, owner, from: "now", add: 90e6 })));
    assert(rows.every((row) => row !== undefined));
  });
  assert.equal(renewing, 2); // extend, read
});
