import { type AcquireRequest, type Backend, getLock, type Lock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { Connector } from "../../backends/mysql/connection/connector.ts";
import { MysqlSessionEngine } from "../../backends/mysql/session/session_engine.ts";
import { resolveTarget } from "../../backends/mysql/options.ts";
import { SessionBackend } from "../../backends/sessions/session_backend.ts";
import { connectionsTo, onEach, type Place, until } from "./flavors.ts";

/** So many names. */
function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `name ${index}`);
}

/** Requests of one owner for several names. */
function requestsFor(names: readonly string[], owner = "me"): AcquireRequest[] {
  const rest = { duration: null, lockedBy: "x", lockProcess: null, metadata: null, limit: 1 };
  return names.map((name) => ({ name, owner, ...rest }));
}

/** How many SELECTs the server was sent while `body` ran. */
async function selects(place: Place, body: () => Promise<void>): Promise<number> {
  const sent = async () => Number((await place.ask("SHOW GLOBAL STATUS LIKE 'Com_select'"))[0].Value);
  const before = await sent();
  await body();
  return await sent() - before;
}

/** Whether nobody has any of these names: then `backend` can have them all. */
async function areFree(backend: Backend, names: readonly string[]): Promise<boolean> {
  const requests = requestsFor(names, crypto.randomUUID());
  const answers = await backend.acquire(requests);
  const granted = requests.filter((_, index) => answers[index].granted);
  assert.deepEqual(await backend.release(granted), granted.map(() => true));
  return granted.length === names.length;
}

onEach("session: a batch of locks is acquired and released in few statements", async (place) => {
  const backend = await place.backend({ mode: "session" });
  const other = await place.backend({ mode: "session" });
  let locks: Lock[] = [];
  const acquiring = await selects(place, async () => {
    locks = await Promise.all(numbered(64).map((name) => getLock(name, { backend })));
  });
  assert(acquiring <= 8, `${acquiring} statements to acquire`);
  assert((await Promise.all(locks.map((lock) => lock.verify()))).every(Boolean));
  const tries = await Promise.all(locks.map(({ name }) => tryLock(name, { backend: other })));
  assert(tries.every((lock) => lock === undefined));
  const releasing = await selects(place, async () => {
    assert((await Promise.all(locks.map((lock) => lock.unlock()))).every(Boolean));
  });
  assert(releasing <= 8, `${releasing} statements to release`);
  const again = await Promise.all(locks.map(({ name }) => getLock(name, { backend: other })));
  again.forEach((lock, index) => assert(lock.token > locks[index].token));
  assert((await Promise.all(again.map((lock) => lock.unlock()))).every(Boolean));
  assert(await areFree(backend, numbered(64)));
});

onEach("session: concurrent batches fit on few connections", async (place) => {
  const backend = await place.backend({ mode: "session" });
  const other = await place.backend({ mode: "session" });
  const requests = requestsFor(numbered(700));
  const crowds = [requests.slice(0, 250), requests.slice(250, 500), requests.slice(500)];
  const answers = (await Promise.all(crowds.map((crowd) => backend.acquire(crowd)))).flat();
  const sessions = answers.map((answer) => answer.granted ? answer.row.session : undefined);
  assert.deepEqual([...Map.groupBy(sessions, (id) => id).values()].map((locks) => locks.length), [300, 300, 100]);
  assert.equal((await backend.list({})).length, 700);
  assert((await other.acquire(requestsFor(numbered(700), "you"))).every(({ granted }) => !granted));
  assert((await backend.release(requests)).every(Boolean));
  assert(await areFree(other, numbered(700)));
});

onEach("session: an error in the middle of a batch leaves no lock behind", async (place) => {
  const engine = new MysqlSessionEngine(new Connector(resolveTarget(place.url, { mode: "session" })));
  engine.keyOf = (name) => name; // none at all is an error on MySQL, NULL on MariaDB
  await using backend = new SessionBackend(engine);
  await assert.rejects(backend.acquire(requestsFor(["lockmgr:first", "", "lockmgr:last"])), { name: "BackendError" });
  await until("the locks are free", async () => {
    const [{ first, last }] = await place.ask(
      "SELECT IS_USED_LOCK('lockmgr:first') first, IS_USED_LOCK('lockmgr:last') last",
    );
    return first === null && last === null;
  });
});

for (const how of ["QUERY", "CONNECTION"] as const) {
  onEach(
    `session: KILL ${how} in a crowd gives right answers, and leaves nothing that nobody knows of`,
    async (place) => {
      const other = await place.backend({ mode: "session" });
      assert(await areFree(other, numbered(400)));
      const spared = await connectionsTo(place);
      const backend = await place.backend({ mode: "session" });
      const requests = requestsFor(numbered(400)); // on two connections
      let [killing, failures] = [true, 0];
      const killer = (async () => {
        while (killing) {
          const ids = (await connectionsTo(place)).filter((id) => !spared.includes(id));
          for (const id of ids) await place.ask(`KILL ${how} ${id}`).catch(() => {});
        }
      })();
      for (let round = 0; round < 40 || (failures === 0 && round < 1_000); round++) {
        const answers = await backend.acquire(requests).catch(() => undefined);
        if (answers === undefined) {
          failures++;
          assert.deepEqual(await backend.list({}), []);
          await until("all is free", () => areFree(other, numbered(400)));
        }
        while (!await backend.release(requests).then(() => true, () => false));
      }
      killing = false;
      await killer;
      assert.deepEqual(await backend.list({}), []);
      await until("all is free", () => areFree(other, numbered(400)));
      assert(failures > 0, "no statement was killed");
    },
  );
}
