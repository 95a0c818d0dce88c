/**
 * The cases of django-mysql's own tests by their names, and what they leave out. Those about models (abstract, proxy,
 * inherited) have no counterpart, nor has `test_fails_in_atomic`: the locks are taken on a connection of their own.
 *
 * @module
 */
import { BackendError, LockLost, LockNotFound, LockTimeout, UnsupportedError } from "@lockmgr/lockmgr";
import { TableLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { connectionsTo, onEach, type Place, placeOn, shortestOf, until } from "./flavors.ts";

/** Two tables with a row each. */
async function tables({ ask }: Place): Promise<void> {
  for (const table of ["alphabet", "customer"]) {
    await ask(`CREATE TABLE ${table} (id INT PRIMARY KEY, n INT) ENGINE=InnoDB`, `INSERT INTO ${table} VALUES (1, 0)`);
  }
}

/** The number in a table, as others see it. */
async function number({ ask }: Place, table = "alphabet"): Promise<number> {
  return Number((await ask(`SELECT n FROM ${table}`))[0].n);
}

onEach(
  "a write lock lets its holder write and nobody else read (test_write, test_write_with_table_name)",
  async (place) => {
    await tables(place);
    const backend = await place.backend();
    const write = ["alphabet"];
    const held = await new TableLock({ write, backend }).acquire();
    assert.deepEqual(write, ["alphabet"]); // the list is the caller's
    await held.query("UPDATE alphabet SET n = ? WHERE id = ?", [7, 1]);
    assert.deepEqual(await held.query("SELECT n FROM alphabet"), [{ n: 7 }]);
    const reading = new TableLock({ read: ["alphabet"], acquireTimeout: 0.2, backend });
    await assert.rejects(reading.acquire(), LockTimeout);
    await held.release();
    assert.equal(await number(place), 7);
  },
);

onEach("a read lock is shared, and prevents writes (test_writes_fail_under_read)", async (place) => {
  await tables(place);
  const backend = await place.backend();
  const first = await new TableLock({ read: ["alphabet"], backend }).acquire();
  const second = await new TableLock({ read: ["alphabet"], acquireTimeout: 5, backend }).acquire();
  await assert.rejects(first.query("UPDATE alphabet SET n = 1"), BackendError);
  await assert.rejects(new TableLock({ write: ["alphabet"], acquireTimeout: 0.2, backend }).acquire(), LockTimeout);
  await first.release();
  await second.release();
  const writing = await new TableLock({ write: ["alphabet"], acquireTimeout: 5, backend }).acquire();
  await writing.rollback();
});

onEach(
  "only tables that were locked can be used (test_write_fails_touching_other_table, test_read_and_write)",
  async (place) => {
    await tables(place);
    const backend = await place.backend();
    const lock = new TableLock({ read: ["alphabet", "alphabet"], write: [`${place.name}.customer`], backend });
    const held = await lock.acquire();
    await held.query("UPDATE customer SET n = (SELECT n + 1 FROM alphabet)");
    await assert.rejects(held.query("SELECT * FROM lockmgr_locks"), BackendError);
    await held.release();
    assert.equal(await number(place, "customer"), 1);
  },
);

onEach("run commits when its body returns and rolls back when it throws", async (place) => {
  await tables(place);
  const backend = await place.backend();
  const lock = new TableLock({ write: ["alphabet"], backend });
  assert.equal(await lock.run((held) => held.query("UPDATE alphabet SET n = 1").then(() => "done")), "done");
  assert.equal(await number(place), 1);
  await assert.rejects(
    lock.run(async (held) => {
      await held.query("UPDATE alphabet SET n = 2");
      throw new Error("the body's own");
    }),
    /the body's own/,
  );
  assert.equal(await number(place), 1);
});

onEach("tables are locked on the server of the backend (test_write_with_using)", async (place) => {
  await tables(place);
  await using elsewhere = await placeOn(place.server, place.flavor);
  await tables(elsewhere);
  const held = await new TableLock({ write: ["alphabet"], backend: await elsewhere.backend() }).acquire();
  await held.query("DELETE FROM alphabet");
  assert.equal(await number(place), 0); // neither locked nor emptied
  await held.release();
  assert.equal((await elsewhere.ask("SELECT n FROM alphabet")).length, 0);
});

onEach(
  "a transaction keeps the tables, and another lock has its own (test_creates_an_atomic, test_fail_nested)",
  async (place) => {
    await tables(place);
    const backend = await place.backend();
    const held = await new TableLock({ write: ["alphabet"], backend }).acquire();
    const nested = await new TableLock({ write: ["customer"], acquireTimeout: 5, backend }).acquire();
    await held.query("UPDATE alphabet SET n = 1");
    await nested.query("UPDATE customer SET n = 1");
    await held.rollback();
    await nested.release();
    assert.equal(await number(place), 0);
    assert.equal(await number(place, "customer"), 1);
  },
);

onEach("savepoints work under the lock (test_atomic_works_in_lock)", async (place) => {
  await tables(place);
  const held = await new TableLock({ write: ["alphabet"], backend: await place.backend() }).acquire();
  await held.query("UPDATE alphabet SET n = 1");
  await held.query("SAVEPOINT part");
  await held.query("UPDATE alphabet SET n = 2");
  await held.query("ROLLBACK TO SAVEPOINT part");
  await held.release();
  assert.equal(await number(place), 1);
});

onEach("table locks are acquired and released again and again (test_acquire_release)", async (place) => {
  await tables(place);
  const lock = new TableLock({ read: ["alphabet"], backend: await place.backend() });
  for (let round = 0; round < 3; round++) await (await lock.acquire()).release();
  await place.ask("UPDATE alphabet SET n = 1");
});

onEach("table locks: a disposal rolls back", async (place) => {
  await tables(place);
  const backend = await place.backend();
  {
    await using held = await new TableLock({ write: ["alphabet"], backend }).acquire();
    await held.query("UPDATE alphabet SET n = 3");
  }
  assert.equal(await number(place), 0);
  const held = await new TableLock({ write: ["alphabet"], backend }).acquire();
  await held.query("UPDATE alphabet SET n = 4");
  await held.release();
  await held[Symbol.asyncDispose]();
  assert.equal(held.held, false);
  await assert.rejects(held.release(), LockNotFound);
  await assert.rejects(held.rollback(), LockNotFound);
  await assert.rejects(held.query("SELECT 1"), LockNotFound);
  assert.equal(await number(place), 4);
});

onEach("table locks: nothing stays locked after a failure", async (place) => {
  await tables(place);
  const backend = await place.backend({ maxConnections: 1 });
  const before = (await connectionsTo(place)).length;
  await assert.rejects(new TableLock({ write: ["alphabet", "missing"], backend }).acquire(), BackendError);
  await assert.rejects(new TableLock({ write: ["al`phabet"], backend }).acquire(), BackendError);
  const held = await new TableLock({ write: ["alphabet"], backend }).acquire();
  const waited = await shortestOf(900, async () => {
    await assert.rejects(new TableLock({ write: ["alphabet"], acquireTimeout: 0.3, backend }).acquire(), LockTimeout);
  });
  assert(waited >= 290 && waited < 900, `${waited} ms`); // not the whole second that the server knows
  await held.release();
  const again = await new TableLock({ write: ["alphabet"], backend }).acquire();
  await again.rollback();
  await until("the others have gone", async () => (await connectionsTo(place)).length <= before + 1); // one asks
});

onEach("table locks: they exclude all other clients whatever innodb_table_locks is", async (place) => {
  await tables(place);
  await place.ask("SET GLOBAL innodb_table_locks = 0");
  try {
    const backend = await place.backend();
    const held = await new TableLock({ write: ["alphabet"], backend }).acquire();
    const write = place.ask("SET SESSION lock_wait_timeout = 1", "UPDATE alphabet SET n = 9");
    await assert.rejects(write, /Lock wait timeout/);
    await held.release();
    await using own = await mysql.createConnection(place.url);
    await own.query("START TRANSACTION");
    await own.query("UPDATE alphabet SET n = 1");
    await assert.rejects(new TableLock({ read: ["alphabet"], acquireTimeout: 0.2, backend }).acquire(), LockTimeout);
  } finally {
    await place.ask("SET GLOBAL innodb_table_locks = 1");
  }
});

onEach(
  "table locks: a program whose own transaction uses the table does not wait for itself permanently",
  async (place) => {
    await tables(place);
    const backend = await place.backend();
    assert.equal(new TableLock({ write: ["alphabet"], backend }).acquireTimeout, 10);
    {
      await using own = await mysql.createConnection(place.url);
      await own.query("START TRANSACTION");
      await own.query("SELECT * FROM alphabet");
      const locks = Array.from(
        { length: 10 },
        () => new TableLock({ write: ["alphabet"], acquireTimeout: 0.2, backend }),
      );
      await Promise.all(locks.map((lock) => assert.rejects(lock.acquire(), LockTimeout))); // some timers fire early
    }
    await (await new TableLock({ write: ["alphabet"], backend }).acquire()).rollback();
  },
);

onEach("table locks: statements that release them are refused, and a lost connection is LockLost", async (place) => {
  await tables(place);
  const backend = await place.backend();
  const held = await new TableLock({ write: ["alphabet"], backend }).acquire();
  for (const sql of ["START TRANSACTION", " begin", "UNLOCK TABLES", "LOCK TABLES customer READ", "SET autocommit=1"]) {
    await assert.rejects(held.query(sql), UnsupportedError);
  }
  await held.query("UPDATE alphabet SET n = 5");
  const [{ id }] = await held.query("SELECT CONNECTION_ID() AS id");
  await place.ask(`KILL ${id}`);
  await assert.rejects(held.query("SELECT n FROM alphabet"), (error) => {
    return error instanceof BackendError || error instanceof LockLost;
  });
  await assert.rejects(held.release(), LockLost);
  assert.equal(await number(place), 0);
});

onEach("table locks: run fails when its connection ends while the body does other work", async (place) => {
  await tables(place);
  const lock = new TableLock({ write: ["alphabet"], backend: await place.backend() });
  const running = lock.run(async (held) => {
    await held.query("UPDATE alphabet SET n = 1");
    const [{ id }] = await held.query<{ id: number }[]>("SELECT CONNECTION_ID() AS id");
    await place.ask(`KILL ${id}`);
    await until("the connection has ended", () => !held.held);
  });
  await assert.rejects(running, { name: "LockLost" });
  assert.equal(await number(place), 0);
  await lock.run((held) => held.rollback()); // what the body has ended is not committed
});

onEach("table locks: a statement that releases them is refused however it is written", async (place) => {
  await tables(place);
  const held = await new TableLock({ write: ["alphabet"], backend: await place.backend() }).acquire();
  for (
    const sql of [
      "/* c */ UNLOCK TABLES",
      "-- c\nSTART TRANSACTION",
      "# c\nBEGIN",
      "START /**/ TRANSACTION",
      "/*!50000 UNLOCK TABLES */",
      "/*M!50000 UNLOCK TABLES */",
      "COMMIT AND CHAIN",
      "ROLLBACK /* c */ WORK AND CHAIN",
      "SET @@session.autocommit=1",
      "SET LOCAL autocommit = 1",
      "SET @a=1, autocommit=1",
    ]
  ) await assert.rejects(held.query(sql), UnsupportedError, sql);
  await held.query("UPDATE alphabet SET n = 1 /* UNLOCK TABLES */");
  await held.query("SAVEPOINT a");
  await held.query("ROLLBACK TO SAVEPOINT a");
  await held.query("COMMIT AND NO CHAIN");
  for (const sql of ["SET /* autocommit = 1", "/* UNLOCK TABLES"]) await assert.rejects(held.query(sql), sql);
  const startedAt = performance.now();
  await held.query("SELECT LENGTH(?) AS n", ["src/*.ts ".repeat(100_000)]);
  await held.query(`SELECT LENGTH('${"src/*.ts ".repeat(100_000)}') AS n`);
  assert(performance.now() - startedAt < 10_000);
  await held.query("SET @a = 1");
  await held.rollback();
});

onEach("tables and options of table locks are checked", async (place) => {
  const backend = await place.backend();
  assert.throws(() => new TableLock({ backend }), TypeError);
  assert.throws(() => new TableLock({ read: [], write: [], backend }), TypeError);
  assert.throws(() => new TableLock({ read: [""], backend }), TypeError);
  assert.throws(() => new TableLock({ read: ["a.b.c"], backend }), TypeError);
  assert.throws(() => new TableLock({ write: "alphabet" as unknown as string[], backend }), TypeError);
  assert.throws(() => new TableLock({ write: ["alphabet"], acquireTimeout: -1, backend }), RangeError);
});
