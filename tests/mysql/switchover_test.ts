import {
  type Backend,
  BackendError,
  getLock,
  type Lock,
  LockLost,
  renewLock,
  resetLocks,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import { mysqlBackend, TableLock, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createConnection, createPool } from "mysql2/promise";
import { takesAgain } from "../clusters/takes_again.ts";
import { aborted } from "../conformance/case.ts";
import { Proxy } from "../faults/proxy.ts";
import { test } from "../harness.ts";
import { ask } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { type Flavor, flavors } from "./flavors.ts";

const MODES = ["lease", "hybrid", "session"] as const;

/** Two servers behind one address, with the same database and an application's user; each may be the primary. */
class Pair {
  readonly #proxy: Proxy;

  private constructor(readonly flavor: Flavor, readonly servers: readonly MysqlServer[], proxy: Proxy) {
    this.#proxy = proxy;
  }

  static async start(flavor: Flavor): Promise<Pair> {
    const servers = [flavor.shared, await flavor.start()];
    for (const server of servers) {
      await ask(
        server.url,
        "CREATE DATABASE IF NOT EXISTS pair",
        "CREATE USER IF NOT EXISTS app IDENTIFIED BY 'secret-word'",
        "GRANT ALL ON pair.* TO app",
      );
    }
    return new Pair(flavor, servers, await Proxy.start(servers[0].port));
  }

  /** The address that leads to the primary, for a user who may not write to a replica or for one who may. */
  url(user: "app" | "tester" = "app"): string {
    return `mysql://${user}:secret-word@127.0.0.1:${this.#proxy.port}/pair`;
  }

  /** Each server by itself. */
  at(index: number): string {
    return `mysql://app:secret-word@127.0.0.1:${this.servers[index].port}/pair`;
  }

  /** Makes a server read-only, or the primary. */
  async setReadOnly(index: number, on: boolean, setting?: string): Promise<void> {
    const name = setting ?? (this.flavor.name === "mysql" ? "super_read_only" : "read_only");
    await ask(this.servers[index].url, `SET GLOBAL ${name} = ${on ? "ON" : "OFF"}`);
    if (!on) await ask(this.servers[index].url, "SET GLOBAL read_only = OFF");
  }

  /** The address leads to this server from now on. */
  move(index: number): void {
    this.#proxy.to = this.servers[index].port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#proxy.close();
    await this.setReadOnly(0, false);
    await ask(this.servers[0].url, "DROP DATABASE pair");
    await this.servers[1].stop();
  }
}

/** A test over a pair of each flavor's. */
function onPair(name: string, run: (pair: Pair) => Promise<void>): void {
  for (const flavor of flavors) {
    test(`${flavor.name}: ${name}`, async () => {
      await using pair = await Pair.start(flavor);
      await run(pair);
    });
  }
}

onPair("switchover: the same backend takes locks on the new primary", async (pair) => {
  for (const mode of MODES) {
    pair.move(0);
    const table = `moved_${mode}`;
    await using backend = await mysqlBackend(pair.url(), { mode, table });
    await using second = await mysqlBackend(pair.at(1), { mode, table }); // as replication would have made the table
    const before = await getLock("before", { backend });
    const others = await Promise.all(["x", "y", "z"].map((name) => getLock(name, { backend })));
    const lost = aborted(before.signal);
    await pair.setReadOnly(0, true);
    pair.move(1);
    const lock = await takesAgain(backend, "after");
    assert.equal(await tryLock("after", { backend: second }), undefined, "it is held on the new primary");
    assert(lock.token > before.token);
    assert.equal(await lock.verify(), true);
    if (mode !== "lease") {
      assert(await lost instanceof LockLost);
      for (const each of [before, ...others]) assert.equal(await each.verify(), false);
    }
    assert.equal(await lock.unlock(), true);
    await pair.setReadOnly(0, false);
  }
});

/** Every verb that would change a row, or vouch for one, on the caller's connection. */
function changes(backend: Backend, lock: Lock, url: string): Record<string, () => Promise<unknown>> {
  return {
    renewLock: () => renewLock(lock.name, { backend }),
    resetLocks: () => resetLocks({ backend }),
    setLock: () => setLock("other", { backend }),
    "unlock by name": () => unlock(lock.name, { backend }),
    guard: async () => {
      await using connection = await createConnection(url);
      await connection.beginTransaction();
      await lock.guard(connection);
    },
    unlock: async () => assert.equal(await lock.unlock(), true),
  };
}

onPair(
  "demotion in place: every verb that changes a row is refused, and a lock that renews itself is lost",
  async (pair) => {
    for (const mode of ["lease", "hybrid"] as const) {
      await using backend = await mysqlBackend(pair.url(), { mode, table: `refused_${mode}` });
      const lock = await getLock("a", { backend });
      const kept = await getLock("kept", { backend, expires: 1, autoRenew: true });
      const lost = aborted(kept.signal);
      await pair.setReadOnly(0, true);
      for (const [verb, change] of Object.entries(changes(backend, lock, pair.url()))) {
        const error = await change().catch((error) => error);
        const isLost = mode === "hybrid" && error instanceof LockLost; // with the session
        const isRefused = error instanceof BackendError && error.retryable && error.message.includes("read-only");
        assert(isLost || isRefused, `${mode} ${verb}: ${error}`);
      }
      assert(await lost instanceof LockLost);
      await assert.rejects(kept.renew(), LockLost);
      await pair.setReadOnly(0, false);
      await (await takesAgain(backend, "b")).unlock();
    }
  },
);

onPair("demotion in place: the backend goes on once the server is the primary again", async (pair) => {
  for (const mode of MODES) {
    const table = `demoted_${mode}`;
    await using backend = await mysqlBackend(pair.url(), { mode, table });
    await (await getLock("a", { backend })).unlock();
    await pair.setReadOnly(0, true);
    await assert.rejects(tryLock("a", { backend }), { name: "BackendError", retryable: true, message: /read-only/ });
    await assert.rejects(tryLock("b", { backend }), { name: "BackendError", retryable: true, message: /read-only/ });
    await pair.setReadOnly(0, false);
    for (const name of ["a", "b"]) await (await takesAgain(backend, name)).unlock();
  }
});

onPair("switchover: two backends never hold one name, whatever the user may write", async (pair) => {
  for (const user of ["app", "tester"] as const) {
    for (const mode of MODES) {
      pair.move(0);
      const table = `split_${user}_${mode}`;
      await using early = await mysqlBackend(pair.url(user), { mode, table });
      await (await getLock("a", { backend: early })).unlock();
      await pair.setReadOnly(0, true, "read_only");
      pair.move(1);
      await using late = await mysqlBackend(pair.url(user), { mode, table });
      const lock = await getLock("a", { backend: late });
      assert.equal(await tryLock("a", { backend: early }).catch(() => undefined), undefined, `${user} ${mode}`);
      assert.equal(await tryLock("a", { backend: early }).catch(() => undefined), undefined, `${user} ${mode}`);
      assert.equal(await lock.unlock(), true);
      await (await takesAgain(early, "a")).unlock();
      await pair.setReadOnly(0, false);
    }
  }
});

onPair("switchover: a waiter hears of a release on the new primary", async (pair) => {
  for (const mode of MODES) {
    pair.move(0);
    const table = `waiting_${mode}`;
    await using backend = await mysqlBackend(pair.url(), { mode, table });
    await using other = await mysqlBackend(pair.at(0), { mode, table });
    await using successor = await mysqlBackend(pair.at(1), { mode, table });
    await getLock("a", { backend: other });
    const holder = await getLock("a", { backend: successor });
    const waiting = getLock("a", { backend, wait: 20 });
    assert.equal(await Promise.race([waiting, other.observe!(["a"]).then(() => undefined)]), undefined);
    await pair.setReadOnly(0, true);
    pair.move(1);
    assert.equal(await holder.unlock(), true);
    await (await waiting).unlock();
    await pair.setReadOnly(0, false);
  }
});

onPair("switchover: connections of a caller's pool are replaced", async (pair) => {
  const pool = createPool({ uri: pair.url(), connectionLimit: 5 });
  const used = await Promise.all(Array.from({ length: 5 }, () => pool.getConnection()));
  for (const connection of used) connection.release();
  for (const mode of MODES) {
    const table = `pool_${mode}`;
    pair.move(0);
    await using _first = await mysqlBackend(pair.at(0), { mode, table });
    await using backend = await mysqlBackend(pool, { mode, table });
    await using _second = await mysqlBackend(pair.at(1), { mode, table });
    await (await getLock("a", { backend })).unlock();
    await pair.setReadOnly(0, true);
    pair.move(1);
    await (await takesAgain(backend, "a")).unlock();
    await pair.setReadOnly(0, false);
  }
  await pool.end();
});

onPair("switchover: user locks and table locks go to the new primary", async (pair) => {
  await using backend = await mysqlBackend(pair.url(), { table: "locks" });
  await using _second = await mysqlBackend(pair.at(1), { table: "locks" });
  await using old = await new UserLock("a", { backend }).acquire();
  await pair.setReadOnly(0, true);
  const tables = new TableLock({ write: ["locks"], backend, acquireTimeout: 5 });
  const refused = { name: "BackendError", retryable: true, message: /read-only/ };
  await assert.rejects(tables.acquire(), refused);
  await assert.rejects(new UserLock("b", { backend }).acquire(), refused);
  pair.move(1);
  await using lock = await new UserLock("a", { backend, acquireTimeout: 1 }).acquire();
  assert.equal(await lock.isHeld(), true);
  await assert.rejects(old.release(), LockLost);
  await (await tables.acquire()).release();
});
