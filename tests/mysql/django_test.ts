import { LockTimeout } from "@lockmgr/lockmgr";
import { TableLock, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { talkingTo, type Worker } from "../processes/spawn.ts";
import { takeFairly, takeTurns, TURNS_SECONDS } from "../processes/turns.ts";
import { startDjango } from "../servers/django.ts";
import { onEach, type Place, until } from "./flavors.ts";

/** A Python program that locks as django-mysql does. */
interface Django extends AsyncDisposable {
  /** Has it do something, and answers what came of it. */
  ask<T>(command: string, ...parameters: unknown[]): Promise<T>;
  /** Has it do something, without waiting for what comes of it. */
  tell: Worker["tell"];
  /** What came of that. */
  next: Worker["next"];
}

/** Starts the program on a place's database. */
async function django({ url, name }: Place): Promise<Django> {
  const { hostname, port, username, password } = new URL(url);
  const script = fileURLToPath(new URL("./django_program.py", import.meta.url));
  const worker = talkingTo(await startDjango(script, [hostname, port, username, password, name]), script);
  return {
    ask: <T>(...command: unknown[]) => (worker.tell(command), worker.next<T>()),
    tell: worker.tell,
    next: worker.next,
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  };
}

/** Whether somebody waits on the server for a lock of this kind. */
async function waits({ ask, name }: Place, statement: string): Promise<boolean> {
  const rows = await ask(
    `SELECT id FROM information_schema.processlist WHERE db = '${name}' AND info LIKE '${statement}%'`,
  );
  return rows.length > 0;
}

onEach("a Django program with django-mysql's Lock and a user lock exclude each other", async (place) => {
  const backend = await place.backend();
  await using python = await django(place);
  const name = "näme";
  const lock = new UserLock(name, { backend, acquireTimeout: 30 });
  assert.equal(await python.ask("acquire", name, 10), 1);
  assert.equal(await lock.holdingConnectionId(), await python.ask("connection_id"));
  await assert.rejects(new UserLock(name, { backend, acquireTimeout: 0.1 }).acquire(), LockTimeout);
  const waiting = lock.acquire();
  await until("the user lock waits", () => waits(place, "SELECT%GET_LOCK"));
  assert.equal(await python.ask("release", name), 1);
  await waiting;
  assert.equal(await python.ask("holder", name), await lock.holdingConnectionId());
  assert.equal(await python.ask("acquire", name, 0), 0);
  assert.equal(await python.ask("release", name), 0); // another's
  python.tell(["acquire", name, 30]);
  await until("the Django program waits", () => waits(place, "SELECT GET_LOCK"));
  await lock.release();
  assert.equal(await python.next(), 1);
  assert.equal(await lock.isHeld(), true);
  assert.equal(await python.ask("release", name), 1);
  const names = [name, "with 'quotes' and a.point"];
  await takeFairly((startAt) => {
    python.tell(["take_turns", names, startAt, TURNS_SECONDS]);
    const acquire = (index: number) => new UserLock(names[index], { backend, acquireTimeout: 30 }).acquire();
    return [takeTurns(names.length, startAt, acquire), python.next()];
  });
});

onEach("a Django program with django-mysql's TableLock and a table lock exclude each other", async (place) => {
  await place.ask(
    "CREATE TABLE alphabet (id INT PRIMARY KEY, n INT) ENGINE=InnoDB",
    "INSERT INTO alphabet VALUES (1, 0)",
  );
  const backend = await place.backend();
  await using python = await django(place);
  assert.equal(await python.ask("lock_tables", [], ["alphabet"]), true);
  await python.ask("change", "UPDATE alphabet SET n = n + 1");
  const impatient = new TableLock({ write: ["alphabet"], acquireTimeout: 0.2, backend });
  await assert.rejects(impatient.acquire(), LockTimeout);
  const waiting = new TableLock({ write: ["alphabet"], acquireTimeout: 30, backend }).acquire();
  await until("the table lock waits", () => waits(place, "LOCK TABLES"));
  assert.equal(await python.ask("unlock_tables"), true);
  const held = await waiting;
  assert.deepEqual(await held.query("SELECT n FROM alphabet"), [{ n: 1 }]); // what it did before is there
  await held.query("UPDATE alphabet SET n = n + 1");
  python.tell(["lock_tables", ["alphabet"], []]);
  await until("the Django program waits", () => waits(place, "LOCK TABLES"));
  await held.release();
  assert.equal(await python.next(), true);
  const reading = await new TableLock({ read: ["alphabet"], acquireTimeout: 30, backend }).acquire(); // both may read
  assert.deepEqual(await reading.query("SELECT n FROM alphabet"), [{ n: 2 }]);
  await assert.rejects(impatient.acquire(), LockTimeout);
  await reading.release();
  assert.equal(await python.ask("unlock_tables"), true);
  const lock = new TableLock({ write: ["alphabet"], acquireTimeout: 30, backend });
  await (await lock.acquire()).rollback();
  await takeFairly((startAt) => {
    python.tell(["take_turns", ["alphabet"], startAt, TURNS_SECONDS, true]);
    return [takeTurns(1, startAt, () => lock.acquire()), python.next()];
  });
});
