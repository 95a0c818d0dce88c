import { getLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { createConnection } from "mysql2/promise";
import { later } from "../conformance/case.ts";
import { contend } from "../faults/contend.ts";
import { start } from "../processes/spawn.ts";
import { connectionsTo, onEach, until } from "./flavors.ts";

onEach("many names are waited for on few connections", async (place) => {
  const holder = await place.backend();
  const names = Array.from({ length: 12 }, (_, index) => `lock ${index}`);
  for (const maxConnections of [10, 1]) {
    const locks = await Promise.all(names.map((name) => getLock(name, { backend: holder })));
    const before = await connectionsTo(place);
    const backend = await place.backend({ maxConnections });
    const other = await place.backend({ maxConnections });
    const waits = names.flatMap((name) =>
      [backend, other].map((backend) => getLock(name, { backend, wait: 30 }).then((lock) => lock.unlock()))
    );
    await new Promise((resolve) => setTimeout(resolve, 300));
    const opened = (await connectionsTo(place)).filter((id) => !before.includes(id));
    assert(opened.length <= 2 * maxConnections, `${opened.length} connections`);
    assert(locks.length === names.length);
    await Promise.all(locks.map((lock) => lock.unlock()));
    assert((await Promise.all(waits)).every(Boolean));
    await backend[Symbol.asyncDispose]();
    await other[Symbol.asyncDispose]();
  }
});

onEach(
  "waiting: after the first third of a second a process polls a held name at most 50 times a second",
  async (place) => {
    const lock = await getLock("a", { backend: await place.backend() });
    const wait = later(getLock("a", { backend: await place.backend(), wait: 30 }));
    const asked = async () => Number((await place.ask("SHOW GLOBAL STATUS LIKE 'Com_select'"))[0].Value);
    const first = await asked();
    await until("the first 70 pauses, which are shorter, are over", async () => await asked() >= first + 80);
    const [from, before] = [performance.now(), await asked()];
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    const rate = (await asked() - before) / (performance.now() - from) * 1e3;
    assert(rate <= 60, `${rate} looks in a second`);
    await lock.unlock();
    assert.equal(await (await wait).unlock(), true);
  },
);

onEach("waiting: a wait that is given up does not keep the process alive", async (place) => {
  const lock = await getLock("a", { backend: await place.backend() });
  await using program = start("tests/mysql/exits_after_wait.ts", [place.url]);
  assert.equal(await program.next(), true);
  const answeredAt = performance.now(); // a busy machine takes seconds to start a program
  assert.equal(await program.ended, 0);
  assert(performance.now() - answeredAt < 4_000);
  assert.equal(await lock.unlock(), true);
});

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: holders and waiters live through OPTIMIZE TABLE and FLUSH TABLES WITH READ LOCK`, async (place) => {
    const backends = await Promise.all(Array.from({ length: 3 }, () => place.backend({ mode })));
    await using kept = await getLock("kept", { backend: backends[0], expires: 10, autoRenew: true });
    const contention = contend(backends, 30);
    const administrator = await createConnection({ uri: place.url });
    const blocked = `SELECT id FROM information_schema.processlist
      WHERE db = '${place.name}' AND id <> CONNECTION_ID() AND state LIKE 'Waiting for%lock'`;
    for (let round = 0; round < 5; round++) {
      await administrator.query("OPTIMIZE TABLE lockmgr_locks");
      await administrator.query("FLUSH TABLES WITH READ LOCK");
      await until("a client waits", async () => (await place.ask(blocked)).length > 0);
      await administrator.query("UNLOCK TABLES");
      const before = contention.turns();
      await until("all have their turns", () => contention.turns() >= before + 6);
    }
    await contention.end();
    await administrator.end();
    assert.equal(await kept.verify(), true);
  });
}
