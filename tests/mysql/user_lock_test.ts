/**
 * The cases of django-mysql's own tests by their names, and what they leave out.
 *
 * @module
 */
import {
  BackendError,
  connect,
  getLock,
  LockLost,
  LockNotFound,
  LockTimeout,
  UnsupportedError,
} from "@lockmgr/lockmgr";
import { TableLock, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { Proxy } from "../faults/proxy.ts";
import { takeFairly, takeTurns } from "../processes/turns.ts";
import { onEach, onOwn, type Place, shortestOf, until } from "./flavors.ts";

/** Makes the server show its user locks. */
async function showLocks({ flavor, ask }: Place): Promise<void> {
  if (flavor.name === "mariadb") await ask("INSTALL SONAME 'metadata_lock_info'").catch(() => {}); // it may be there
}

onEach("a user lock is held inside its block only (test_simple)", async (place) => {
  const backend = await place.backend();
  const lock = new UserLock("mylock", { backend });
  assert.equal(await lock.isHeld(), false);
  assert.equal(await lock.holdingConnectionId(), null);
  {
    await using same = new UserLock("mylock", { backend });
    await same.acquire();
    assert.equal(await same.isHeld(), true);
    assert.equal(await lock.isHeld(), true);
    assert(Number.isInteger(await lock.holdingConnectionId()));
  }
  assert.equal(await lock.isHeld(), false);
});

onEach("a user lock may be created long before its use (test_defined_at_import_time)", async (place) => {
  const lock = new UserLock("defined_early", { backend: await place.backend() }); // asks nothing of the server
  assert.equal(await lock.isHeld(), false);
  await using _held = await lock.acquire();
  assert.equal(await lock.isHeld(), true);
});

onEach(
  "tasks that share one object hold its lock together, tasks with their own do not (test_threads_concurrent_access)",
  async (place) => {
    const backend = await place.backend();
    const shared = new UserLock("THElock", { backend });
    await shared.acquire();
    await assert.rejects(new UserLock("THElock", { backend, acquireTimeout: 0.05 }).acquire(), LockTimeout);
    await shared.release();
    await Promise.all([shared.acquire(), shared.acquire()]);
    await Promise.all([shared.release(), shared.release()]);
    assert.equal(await shared.isHeld(), false);
  },
);

onEach("several user locks are held at once (test_holding_more_than_one, test_multi_connection)", async (place) => {
  const backend = await place.backend();
  await using a = await new UserLock("a", { backend }).acquire();
  await using b = await new UserLock("b", { backend: await place.backend() }).acquire();
  await using c = await new UserLock("c", { backend }).acquire();
  const holders = await Promise.all([a, b, c].map((lock) => lock.holdingConnectionId()));
  assert(holders.every((id) => id !== null));
});

onEach("a user lock is acquired and released (test_acquire_release)", async (place) => {
  const lock = new UserLock("mylock", { backend: await place.backend({ mode: "session" }) });
  for (let round = 0; round < 3; round++) {
    assert.equal(await lock.acquire(), lock);
    assert.equal(await lock.isHeld(), true);
    await lock.release();
    assert.equal(await lock.isHeld(), false);
  }
});

onEach("releasing a user lock that is not held is an error (test_error_on_unneeded_exit)", async (place) => {
  const backend = await place.backend();
  const lock = new UserLock("mylock", { backend });
  await assert.rejects(lock.release(), LockNotFound);
  await using other = new UserLock("mylock", { backend });
  await other.acquire();
  await assert.rejects(lock.release(), LockNotFound);
  assert.equal(await other.isHeld(), true);
});

onEach("a user lock that is held elsewhere times out, exactly (test_timeout_with_threads)", async (place) => {
  const backend = await place.backend();
  await using holder = new UserLock("mylock", { backend });
  await holder.acquire();
  for (const acquireTimeout of [0, 0.3, 0.6, 1]) {
    const waited = await shortestOf((acquireTimeout + 0.3) * 1e3, async () => {
      const lock = new UserLock("mylock", { backend, acquireTimeout });
      await assert.rejects(lock.acquire(), (error) => error instanceof LockTimeout && error.lockName === "mylock");
    }) / 1e3;
    assert(waited >= acquireTimeout - 0.01 && waited < acquireTimeout + 0.3, `${waited} s for ${acquireTimeout} s`);
  }
  assert.equal(await holder.isHeld(), true);
});

onEach("two objects exclude each other, one object counts", async (place) => {
  const backend = await place.backend();
  await using lock = new UserLock("mylock", { backend });
  await lock.acquire();
  await lock.acquire();
  const waiter = new UserLock("mylock", { backend, acquireTimeout: 20 });
  const waiting = waiter.acquire();
  await lock.release();
  assert.equal(await lock.isHeld(), true);
  const holder = await lock.holdingConnectionId();
  await lock.release();
  await waiting;
  assert.notEqual(await waiter.holdingConnectionId(), holder);
  await waiter.release();
});

onEach("a user lock takes a fair share of the turns beside another program", async (place) => {
  const backend = await place.backend();
  await takeFairly((startAt) => {
    const own = takeTurns(1, startAt, () => new UserLock("turns", { backend, acquireTimeout: 30 }).acquire());
    const others = takeTurns(1, startAt, async () => {
      const program = await mysql.createConnection(place.url);
      await program.query("SELECT GET_LOCK(?, 30)", [`${place.name}.turns`]);
      return {
        release: () => program.query("SELECT RELEASE_LOCK(?)", [`${place.name}.turns`]).then(() => program.end()),
      };
    });
    return [own, others];
  });
});

onEach("a killed wait is an error, not an answer", async (place) => {
  const backend = await place.backend();
  await using holder = await new UserLock("mylock", { backend }).acquire();
  const waiting = new UserLock("mylock", { backend, acquireTimeout: 60 }).acquire();
  const waiter = () =>
    place.ask(
      `SELECT id AS id FROM information_schema.processlist WHERE db = '${place.name}' AND info LIKE 'SELECT GET_%'`,
    );
  await until("somebody waits", async () => (await waiter()).length > 0);
  await place.ask(`KILL QUERY ${(await waiter())[0].id}`);
  await assert.rejects(waiting, (error) => error instanceof BackendError && error.retryable);
  assert.equal(await holder.isHeld(), true);
});

onEach("held user locks are listed by a literal prefix (test_held_with_prefix)", async (place) => {
  const backend = await place.backend();
  await showLocks(place);
  assert.equal((await UserLock.heldWithPrefix("", { backend })).size, 0);
  const locks = ["author.1", "author.2", "authorX1", "au%hor", "au_hor"].map((name) => new UserLock(name, { backend }));
  for (const lock of locks) await lock.acquire();
  const expected = new Map([
    ["author.1", await locks[0].holdingConnectionId()],
    ["author.2", await locks[1].holdingConnectionId()],
  ]);
  const sorted = (map: Map<string, unknown>) => [...map].sort();
  assert.deepEqual(sorted(await UserLock.heldWithPrefix("author.", { backend })), sorted(expected));
  assert.deepEqual([...(await UserLock.heldWithPrefix("au_", { backend })).keys()], ["au_hor"]);
  assert.deepEqual([...(await UserLock.heldWithPrefix("au%", { backend })).keys()], ["au%hor"]);
  assert.equal((await UserLock.heldWithPrefix("", { backend })).size, 5);
  for (const lock of locks) await lock.release();
  assert.equal((await UserLock.heldWithPrefix("", { backend })).size, 0);
});

onOwn("a missing view or privilege is a clear error", [], async (place) => {
  await place.ask(`CREATE USER clerk IDENTIFIED BY 'pass-word'`, `GRANT ALL ON ${place.name}.* TO clerk`);
  const backend = await connect(place.server.urlOf(place.name, "clerk", "pass-word"));
  await assert.rejects(UserLock.heldWithPrefix("", { backend }), (error) => {
    assert(error instanceof UnsupportedError);
    assert.match(error.message, /performance_schema|metadata_lock_info/);
    return true;
  });
  await backend[Symbol.asyncDispose]();
});

onEach("doctor warns of user locks where the binary log has statements", async (place) => {
  const backend = await place.backend();
  const found = async () => (await backend.diagnose!()).find(({ what }) => what === "user locks");
  const [{ format }] = await place.ask("SELECT @@GLOBAL.binlog_format AS format");
  await place.ask("SET GLOBAL binlog_format = 'STATEMENT'");
  try {
    const { state, detail, advice } = (await found())!;
    assert.equal(state, "warning");
    assert.match(`${detail}; ${advice}`, /binlog_format is STATEMENT.*UserLock/);
  } finally {
    await place.ask(`SET GLOBAL binlog_format = '${format}'`);
  }
});

onEach("a user lock whose connection is killed is lost", async (place) => {
  const backend = await place.backend();
  const lock = new UserLock("mylock", { backend });
  await lock.acquire();
  await place.ask(`KILL ${await lock.holdingConnectionId()}`);
  const next = new UserLock("mylock", { backend, acquireTimeout: 10 });
  await next.acquire();
  await assert.rejects(lock.release(), LockLost);
  await assert.rejects(lock.release(), LockNotFound);
  assert.equal(await next.isHeld(), true);
  await next.release();
});

onEach("a user lock or a table lock that is asked for during an outage is an error at once", async (place) => {
  await using proxy = await Proxy.start(place.server.port);
  await using backend = await connect(place.url.replace(`:${place.server.port}/`, `:${proxy.port}/`));
  await (await new UserLock("a", { backend }).acquire()).release();
  await proxy.close();
  const startedAt = performance.now();
  for (const lock of [new UserLock("a", { backend, acquireTimeout: 60 }), new TableLock({ write: ["a"], backend })]) {
    await assert.rejects(lock.acquire(), (error) => error instanceof BackendError && error.retryable);
  }
  assert(performance.now() - startedAt < 10_000);
});

onEach("names and options of user locks are checked", async (place) => {
  const backend = await place.backend();
  assert.throws(() => new UserLock("", { backend }), RangeError);
  assert.throws(() => new UserLock(7 as unknown as string, { backend }), TypeError);
  assert.throws(() => new UserLock("a", { backend, acquireTimeout: -1 }), RangeError);
  assert.throws(() => new UserLock("a", {} as never), TypeError);
  const sqlite = await connect("sqlite::memory:");
  assert.throws(() => new UserLock("a", { backend: sqlite }), TypeError);
  await sqlite[Symbol.asyncDispose]();
  const long = new UserLock("x".repeat(70), { backend });
  if (place.flavor.name === "mysql") await assert.rejects(long.acquire(), RangeError);
  else {
    await long.acquire();
    await long.release();
  }
  await assert.rejects(new UserLock("x".repeat(500), { backend }).acquire());
  const beyond = new UserLock("🔒", { backend }); // MySQL keeps names of locks in three bytes a character
  if (place.flavor.name === "mysql") await assert.rejects(beyond.acquire(), /does not take this name/);
  await getLock("mylock", { backend: await place.backend({ mode: "session" }) });
  assert.equal(await new UserLock("mylock", { backend }).isHeld(), false); // session locks have names of their own
});
