import { type AcquireRequest, BackendError, getLock, getLocks, setLock, tryLock } from "@lockmgr/lockmgr";
import { mysqlBackend, TableLock, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { Proxy } from "../faults/proxy.ts";
import { connectionsTo, onEach, type Place, until } from "./flavors.ts";

type Backend = Awaited<ReturnType<typeof mysqlBackend>>;

/** Ways to ask for free names, permanently. */
const ways: Record<string, (backend: Backend) => Promise<unknown>> = {
  tryLock: (backend) => tryLock("a", { backend, expires: null }),
  "getLock with a wait": (backend) => getLock("a", { backend, expires: null, wait: 0.3 }),
  "a batch": async (backend) => {
    const outcomes = await Promise.allSettled(["a", "b", "c"].map((name) => tryLock(name, { backend, expires: null })));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed) throw failed.reason; // once all have ended: the others could still be granted afterwards
    return outcomes.map((outcome) => (outcome as PromiseFulfilledResult<unknown>).value);
  },
  setLock: (backend) => setLock(["a", "b"], { backend, expires: null }),
  "setLock with fail": (backend) => setLock(["a", "b"], { backend, expires: null, fail: true }),
};

/** A request of the seam of backends, which has its owner. */
function requestFor(name: string): AcquireRequest {
  const owner = `${name} of a test`;
  return { name, owner, duration: 60e6, lockedBy: "host-a", lockProcess: 1, metadata: null, limit: 1 };
}

/** How many names are held. */
async function held({ ask }: Place): Promise<number> {
  const [{ held }] = await ask("SELECT COUNT(*) AS held FROM lockmgr_locks WHERE NOT (locked_until <=> 0)");
  return Number(held);
}

/** How many statements on the table are being run. */
async function running({ ask, name }: Place): Promise<number> {
  const [{ running }] = await ask(
    `SELECT COUNT(*) AS running FROM information_schema.processlist WHERE db = '${name}'
     AND info LIKE '%lockmgr_locks%' AND id <> CONNECTION_ID()`,
  );
  return Number(running);
}

/** Tries a preparation again that fails while the server pauses. */
async function again<T>(work: () => Promise<T>): Promise<T> {
  return await work().catch(work).catch(work);
}

for (
  const [mode, way, warm] of [
    ["lease", "tryLock", false],
    ["lease", "getLock with a wait", true],
    ["lease", "a batch", true],
    ["lease", "setLock with fail", false],
    ["hybrid", "tryLock", true],
    ["hybrid", "setLock", false],
  ] as const
) {
  const take = ways[way];
  onEach(
    `${mode}: ${way}${warm ? " again" : ""} under LOCK TABLES of another client is an error and leaves no lock behind`,
    async (place) => {
      const backend = await again(() => place.backend({ mode, answerTimeout: 1 }));
      if (warm) await again(() => take(backend).then(() => backend.clean("all")));
      const stranger = await mysql.createConnection(place.url);
      await using _ = { [Symbol.asyncDispose]: () => stranger.end() };
      await stranger.query("LOCK TABLES lockmgr_locks WRITE");
      // No client holds the names: that one does would be a guess.
      await assert.rejects(take(backend), (error) => error instanceof BackendError && error.retryable);
      await stranger.query("UNLOCK TABLES");
      // A statement that was still there may be granted the lock now, which is released as soon as its answer comes.
      await until("nothing is run or held", async () => await running(place) === 0 && await held(place) === 0);
    },
  );
}

for (const mode of ["lease", "hybrid"] as const) {
  onEach(`${mode}: a disposal during acquisitions leaves no lock behind`, async (place) => {
    for (let round = 0; round < 40; round++) {
      const backend = await mysqlBackend(place.url, { mode });
      if (round % 2 === 0) await tryLock("a", { backend }).then((lock) => lock!.unlock());
      const attempts = ["a", "b"].map((name) => tryLock(name, { backend, expires: null }).catch((error) => error));
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
      await backend[Symbol.asyncDispose]();
      const granted = (await Promise.all(attempts)).map((lock) => lock?.name); // before the disposal
      await until("nothing is being run", async () => await running(place) === 0);
      if (mode === "hybrid") await until("it is gone", async () => (await connectionsTo(place)).length === 0);
      const other = await place.backend({ mode });
      for (const name of ["a", "b"]) {
        if (granted.includes(name)) continue;
        const lock = await tryLock(name, { backend: other });
        assert(lock, `${name} is held in round ${round}`);
        await lock.unlock();
      }
      await other.clean("all");
      await other[Symbol.asyncDispose]();
    }
  });
}

onEach("lease: a request that waits for a connection of a pool is not sent after a disposal", async (place) => {
  await place.backend(); // creates the table
  const pool = mysql.createPool({ uri: place.url, connectionLimit: 1 });
  const backend = await mysqlBackend(pool);
  const only = await pool.getConnection();
  const outcome = tryLock("a", { backend }).catch((error) => error);
  await backend[Symbol.asyncDispose]();
  assert(await outcome instanceof BackendError);
  only.release();
  const [[{ id }]] = await pool.query<mysql.RowDataPacket[]>("SELECT CONNECTION_ID() AS id"); // after the request
  assert(id > 0);
  assert.equal(await held(place), 0);
  await pool.end();
});

/** Where the server of a pool is: its delay (ms) in each direction behind a proxy, which hides the client's port. */
const PLACES = { "": undefined, " behind a proxy": 0, " of a server 120 ms away": 60 };

for (const [where, delay] of Object.entries(PLACES)) {
  onEach(
    `lease: a statement that runs on a connection of a pool${where} takes no effect after a disposal`,
    async (place) => {
      const lock = await tryLock("a", { backend: await place.backend() });
      await lock!.unlock();
      await using proxy = await Proxy.start(place.server.port);
      const url = new URL(place.url);
      if (delay !== undefined) url.port = String(proxy.port);
      const pool = mysql.createPool({ uri: String(url), connectionLimit: 2 });
      const backend = await mysqlBackend(pool);
      proxy.delay = delay ?? 0;
      const stranger = await mysql.createConnection(place.url);
      await stranger.query("LOCK TABLES lockmgr_locks WRITE");
      const outcome = tryLock("a", { backend }).catch((error) => error);
      await until("it is being run", async () => await running(place) > 0);
      const startedAt = performance.now();
      await backend[Symbol.asyncDispose]();
      const took = performance.now() - startedAt;
      await stranger.query("UNLOCK TABLES");
      await stranger.end();
      assert(await outcome instanceof BackendError);
      await until("nothing is being run", async () => await running(place) === 0);
      assert.equal(await held(place), 0);
      assert(took < 4_000, `the disposal took ${took} ms`);
      await pool.end();
    },
  );
}

onEach("a user lock is not granted after its wait was abandoned", async (place) => {
  await using proxy = await Proxy.start(place.server.port);
  const url = new URL(place.url);
  url.port = String(proxy.port);
  await using backend = await mysqlBackend(url);
  const holder = new UserLock("a", { backend: await place.backend() });
  await holder.acquire();
  const waiter = assert.rejects(new UserLock("a", { backend, acquireTimeout: 30 }).acquire(), BackendError);
  const waiting = async () => {
    const [{ waiting }] = await place.ask(
      `SELECT COUNT(*) AS waiting FROM information_schema.processlist WHERE db = '${place.name}'
       AND info LIKE 'SELECT %GET_LOCK(%' AND id <> CONNECTION_ID()`,
    );
    return Number(waiting);
  };
  await until("it waits", async () => await waiting() === 1);
  proxy.cutClients();
  await waiter;
  await until("it waits no longer", async () => await waiting() === 0, 10_000);
  await holder.release();
  assert.equal(await holder.isHeld(), false);
});

onEach("a table lock is not granted after its wait was abandoned", async (place) => {
  await using proxy = await Proxy.start(place.server.port);
  const url = new URL(place.url);
  url.port = String(proxy.port);
  await using backend = await mysqlBackend(url);
  const write = ["lockmgr_locks"];
  const holder = await new TableLock({ write, backend: await place.backend() }).acquire();
  const waiter = assert.rejects(new TableLock({ write, backend, acquireTimeout: 30 }).acquire(), BackendError);
  await until("it waits", async () => await running(place) === 1);
  proxy.cutClients();
  await waiter;
  await until("it waits no longer", async () => await running(place) === 0, 10_000);
  await holder.release();
});

onEach("a disposal during the acquisition of a user lock or a table lock leaves neither behind", async (place) => {
  const other = await place.backend();
  const waiting = `SELECT id FROM information_schema.processlist WHERE db = '${place.name}' AND id <> CONNECTION_ID()
    AND (info LIKE 'SELECT GET_LOCK(%' OR info LIKE 'LOCK TABLES%')`;
  for (let round = 0; round < 8; round++) {
    const [isHeld, isOwn] = [round % 2 === 1, round >= 4]; // by another client; the object's disposal or its backend's
    const locksOf = (backend: Backend, acquireTimeout = 30) =>
      [
        new UserLock("a", { backend, acquireTimeout }),
        new TableLock({ write: ["lockmgr_locks"], backend, acquireTimeout }),
      ] as const;
    const held = isHeld ? await Promise.all(locksOf(other).map((lock) => lock.acquire())) : [];
    const backend = await mysqlBackend(place.url, { answerTimeout: 5 });
    const [user, table] = locksOf(backend);
    const attempts = [user.acquire(), table.acquire()].map((attempt) => attempt.catch((error) => error));
    if (isHeld) await until("both wait", async () => (await place.ask(waiting)).length === 2);
    else await new Promise((resolve) => setTimeout(resolve, Math.random() * 3));
    if (isOwn && !isHeld) await user[Symbol.asyncDispose]();
    await backend[Symbol.asyncDispose]();
    for (const outcome of await Promise.all(attempts)) if (isHeld) assert(outcome instanceof BackendError, outcome);
    for (const lock of held) await lock.release();
    await until("nothing is being run", async () => await running(place) === 0);
    for (const lock of locksOf(other, 3)) await (await lock.acquire()).release();
  }
});

for (const mode of ["lease", "hybrid"] as const) {
  onEach(
    `${mode}: a client that is cut off while it releases several locks keeps none of their rows locked`,
    async (place) => {
      await using proxy = await Proxy.start(place.server.port);
      const url = new URL(place.url);
      url.port = String(proxy.port);
      url.searchParams.set("ssl-mode", "DISABLED"); // the proxy reads along
      await using backend = await mysqlBackend(url, { mode, answerTimeout: 5 });
      const other = await place.backend({ mode });
      const names = ["a", "b", "c"];
      await using locks = await getLocks(names, { backend });
      proxy.last = "owner IN ("; // of the first release alone there is nothing left to send
      const released = locks.unlock().catch((error) => error);
      await until("they are released", async () => await held(place) === 0);
      await using _next = await getLocks(names, { backend: other });
      await released;
    },
  );
}

onEach("lease: several releases in one batch each tell whether their lock was still there", async (place) => {
  const backend = await place.backend();
  const names = ["a", "b", "c", "d"];
  const stranger = await mysql.createConnection(place.url);
  await using _ = { [Symbol.asyncDispose]: () => stranger.end() };
  const spoilers: Record<string, readonly [boolean, ...string[]]> = {
    "is whole": [true],
    "has lost a row": [false, "DELETE FROM lockmgr_locks WHERE name = 'b'"],
    "has lost a lock": [false, "UPDATE lockmgr_locks SET owner = 'another' WHERE name = 'b'"],
    "has one that has expired": [false, "UPDATE lockmgr_locks SET locked_until = 1 WHERE name = 'b'"],
    "has a locked row": [true, "START TRANSACTION", "SELECT 1 FROM lockmgr_locks WHERE name = 'b' FOR UPDATE"],
  };
  for (const [what, [isThere, ...statements]] of Object.entries(spoilers)) {
    for (let round = 0; round < 2; round++) { // the second time a locked row is remembered
      const answers = await backend.acquire(names.map((name) => requestFor(name)));
      assert(answers.every(({ granted }) => granted), what);
      for (const sql of statements) await stranger.query(sql);
      const unlocked = setTimeout(() => stranger.query("COMMIT"), 200);
      const released = await backend.release(names.map((name) => ({ name, owner: `${name} of a test` })));
      clearTimeout(unlocked);
      await stranger.query("COMMIT");
      assert.deepEqual(released, [true, isThere, true, true], `${what}, round ${round}`);
      await backend.clean("all");
    }
  }
});
