import { BackendError, getLock, type Lock, LockFail, type LockRecord, setLock, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { Proxy } from "../faults/proxy.ts";
import { connectionsTo, onEach, type Place, until } from "./flavors.ts";

type Backend = Awaited<ReturnType<typeof mysqlBackend>>;

/** The address of a place by way of a proxy. */
function urlThrough(proxy: Proxy, place: Place): URL {
  const url = new URL(place.url);
  url.port = String(proxy.port);
  return url;
}

/** The locks that were granted, or `undefined` for one that is busy. */
type Outcome = readonly (LockRecord | undefined)[];

/** Ways to take names. */
const ways: Record<string, (names: string[], backend: Backend) => Promise<Outcome>> = {
  tryLock: async ([name], backend) => [await tryLock(name, { backend })],
  getLock: async ([name], backend) => [await getLock(name, { backend, wait: 0 })],
  "a batch": (names, backend) => Promise.all(names.map((name) => tryLock(name, { backend }))),
  "setLock with fail": (names, backend) => {
    return setLock(names, { backend, fail: true }).then(({ locks }) => locks, (error) => {
      if (error instanceof LockFail) return [undefined];
      throw error;
    });
  },
  setLock: (names, backend) => setLock(names, { backend, renew: false }).then(({ locks }) => locks),
};

/** Ends what is left of these connections at the server. */
async function killAll(place: Place, ids: readonly number[]): Promise<void> {
  for (const id of ids) await place.ask(`KILL ${id}`).catch(() => {});
  await until("they are gone", async () => (await connectionsTo(place)).every((id) => !ids.includes(id)));
}

for (const mode of ["hybrid", "lease", "session"] as const) {
  for (const [way, take] of Object.entries(ways)) {
    if (mode === "session" && way.startsWith("setLock")) continue;
    onEach(`${mode}: ${way}: lost connections never make a free name busy`, async (place) => {
      await using proxy = await Proxy.start(place.server.port);
      await using backend = await mysqlBackend(urlThrough(proxy, place), { mode });
      const halfOpen = mode !== "session" && way !== "setLock with fail";
      for (let round = 0; round < 20; round++) {
        const names = [0, 1, 2, 3, 4].map((index) => `name ${round % 3} ${index}`);
        const old = !halfOpen || round % 2 === 0 ? [] : await connectionsTo(place);
        const cut = new Promise<void>((resolve) => {
          setTimeout(() => resolve(!halfOpen || round % 2 === 0 ? proxy.cut() : proxy.cutClients()), Math.random() * 4);
        });
        const outcome = await take(names, backend).catch((error) => {
          assert(error instanceof BackendError && error.retryable, String(error));
          return [] as Outcome;
        });
        await cut;
        assert(!outcome.includes(undefined), `busy in round ${round}`);
        await killAll(place, old);
        for (const lock of outcome as Lock[]) {
          if (!lock?.held || await lock.verify()) continue;
          // On a slow machine its session may be given up meanwhile, after a silence: then the handle has noticed.
          const { name, token, session, signal: { reason } } = lock;
          const sql = `SELECT *, IS_USED_LOCK(session) AS used FROM lockmgr_locks WHERE name = '${name}'`;
          const row = await place.ask(sql).catch(String);
          const found = JSON.stringify({ name, token: String(token), session, round, row });
          assert.match(String(reason?.cause), /nothing was heard of the server|no answer within/, found);
        }
        if (mode !== "session") await backend.clean("all").catch(() => {});
        else for (const lock of outcome) await (lock as Lock | undefined)?.unlock().catch(() => {});
      }
    });
  }
}

for (const [way, take] of Object.entries(ways)) {
  if (way.startsWith("setLock")) continue; // these ask a question before they take names
  for (const warm of [false, true]) {
    onEach(
      `hybrid: ${way}${warm ? ", again" : ""}: a lost answer ties no lock to a session that has ended`,
      async (place) => {
        await using proxy = await Proxy.start(place.server.port);
        await using backend = await mysqlBackend(urlThrough(proxy, place), { mode: "hybrid" });
        const names = ["a", "b", "c"];
        if (warm) await Promise.all((await take(names, backend)).map((lock) => (lock as Lock).unlock()));
        const [{ last }] = await place.ask("SELECT COALESCE(MAX(token), 0) AS last FROM lockmgr_locks");
        proxy.swallow = "answers";
        const attempt = take(names, backend);
        await until("the names are held", async () => {
          const [{ held }] = await place.ask(`SELECT COUNT(*) AS held FROM lockmgr_locks WHERE token > ${last}`);
          return Number(held) > 0;
        });
        const old = await connectionsTo(place);
        proxy.cutClients();
        proxy.swallow = undefined;
        const locks = await attempt as Lock[];
        await killAll(place, old); // the server gives them up
        const other = await place.backend({ mode: "hybrid" });
        for (const lock of locks) {
          assert.equal(await tryLock(lock.name, { backend: other }), undefined);
          assert.equal(lock.held, true);
          assert.equal(await lock.verify(), true);
          assert.equal(await lock.unlock(), true);
        }
      },
    );
  }
}
