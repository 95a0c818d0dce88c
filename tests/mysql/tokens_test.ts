import { type Backend, getLock, type Mode } from "@lockmgr/lockmgr";
import { mysqlBackend } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createConnection } from "mysql2/promise";
import type { MysqlSession } from "../../backends/mysql/session/session.ts";
import { openTokens } from "../../backends/mysql/session/session_tokens.ts";
import { test } from "../harness.ts";
import { type Flavor, flavors, onEach, type Place, placeOn } from "./flavors.ts";

const mode: Mode = "session";

/** Takes a lock and releases it; its token must come after `last`. */
async function next(backend: Backend, last: bigint, name = "a"): Promise<bigint> {
  const lock = await getLock(name, { backend });
  await lock.unlock();
  assert(lock.token > last, `${lock.token} after ${last}`);
  assert(lock.token < 2n ** 53n);
  return lock.token;
}

/** The address of a user of the place's database for whom the server's clock can be set. */
async function limitedUser({ ask, name, server }: Place, grants = "ALL PRIVILEGES"): Promise<string> {
  await ask(`CREATE USER limited IDENTIFIED BY 'pass-word'`, `GRANT ${grants} ON ${name}.* TO limited`);
  return server.urlOf(name, "limited", "pass-word");
}

/** Sets the clock of connections that are opened from now on (s). */
async function setClock({ ask }: Place, seconds: number): Promise<void> {
  await ask(`SET GLOBAL init_connect = 'SET timestamp = ${seconds}'`);
}

/** A server whose clock of a statement is that of its connection. */
async function withOwnClock(
  flavor: Flavor,
  run: (place: Place) => Promise<void>,
  settings: readonly string[] = [],
): Promise<void> {
  await using server = await flavor.start({ settings: ["--sysdate-is-now", ...settings] });
  await using place = await placeOn(server, flavor);
  await run(place);
}

for (const flavor of flavors) {
  test(`${flavor.name}: session: tokens increase when the clock is set back, and over restarts`, async () => {
    await withOwnClock(flavor, async (place) => {
      const url = await limitedUser(place);
      let last = 0n;
      for (const clock of [2_000_000_000, 1_900_000_000, 1_999_999_999]) {
        await setClock(place, clock);
        await using one = await mysqlBackend(url, { mode });
        last = await next(one, last);
        await setClock(place, clock - 3_600);
        await using two = await mysqlBackend(url, { mode, table: `${place.name}.lockmgr_locks` });
        for (const backend of [two, one, two, one]) last = await next(backend, last);
        if (clock === 2_000_000_000) continue; // the connections of the first round end while the server goes on
        await place.server.restart();
      }
    });
  });

  test(`${flavor.name}: session: tokens increase over a crash with the clock set back`, async () => {
    await withOwnClock(flavor, async (place) => {
      const url = await limitedUser(place);
      await setClock(place, 2_000_000_000);
      await using one = await mysqlBackend(url, { mode });
      const before = await next(one, 0n);
      await place.server.kill();
      await place.server.start();
      await setClock(place, 1_000_000_000);
      const readOnly = flavor.name === "mysql" ? "transaction_read_only" : "tx_read_only";
      await place.ask(`SET GLOBAL ${readOnly} = 1`);
      await using two = await mysqlBackend(url, { mode });
      await next(two, await next(one, await next(two, before))); // the first one goes on with a new connection
      await place.ask(`SET GLOBAL ${readOnly} = 0`);
    }, ["--binlog-format=STATEMENT", "--log-bin=log", "--server-id=300", "--transaction-isolation=READ-COMMITTED"]);
  });

  test(`${flavor.name}: session: where the table of tokens may not be made they are the clock, which the doctor says`, async () => {
    await using place = await placeOn(flavor.shared, flavor);
    const url = await limitedUser(place, "SELECT, INSERT, UPDATE");
    const advice = async (backend: Backend) => (await backend.diagnose!()).find(({ what }) => what === "tokens");
    await using denied = await mysqlBackend(url, { mode });
    await using kept = await place.backend({ mode, migrate: false });
    for (const backend of [denied, kept]) {
      await next(backend, await next(backend, 0n));
      const found = await advice(backend);
      assert.equal(found?.state, "warning");
      assert.match(`${found.detail} ${found.advice}`, /clock.*lockmgr_locks_tokens/);
    }
    const made = await place.backend({ mode });
    assert.equal(await advice(made), undefined);
    await using enough = await mysqlBackend(url, { mode, migrate: false });
    await next(enough, await next(made, 0n));
    assert.equal(await advice(enough), undefined);
    await place.ask("DROP USER limited");
  });
}

onEach("session: tokens increase over hundreds of connections that come and go", async (place) => {
  let last = 0n;
  const held = await place.backend({ mode });
  for (let round = 0; round < 10; round++) {
    const names = Array.from({ length: 300 }, (_, index) => `held ${index}`);
    await using backend = await mysqlBackend(place.url, { mode });
    const locks = await Promise.all(names.map((name) => getLock(name, { backend })));
    last = await next(backend, locks.map(({ token }) => token).sort((a, b) => Number(a - b)).at(-1)!);
    last = await next(held, last);
  }
  const [{ sessions }] = await place.ask("SELECT CAST(sessions AS CHAR) AS sessions FROM lockmgr_locks_tokens");
  assert(sessions.split(" ").length <= 4, sessions); // those that have ended are forgotten
});

onEach("session: concurrent clients draw tokens in one order", async (place) => {
  const backends = await Promise.all(Array.from({ length: 12 }, () => place.backend({ mode })));
  let last = 0n;
  await Promise.all(backends.map(async (backend) => {
    for (let round = 0; round < 10; round++) {
      const lock = await getLock("a", { backend, wait: 60 });
      assert(lock.token > last, `${lock.token} after ${last}`);
      last = lock.token;
      await lock.unlock();
    }
  }));
});

onEach("session: reserved tokens are reserved again before they are drawn", async (place) => {
  const one = await place.backend({ mode });
  let last = await next(one, 0n);
  const two = await place.backend({ mode });
  last = await next(two, last);
  // As if as many tokens had been drawn as were reserved.
  await place.ask("UPDATE lockmgr_locks_tokens SET reserved = base + 1");
  const three = await place.backend({ mode });
  last = await next(three, last);
  const [{ reserved }] = await place.ask("SELECT reserved FROM lockmgr_locks_tokens");
  assert(BigInt(reserved) > last);
  for (const backend of [one, two, three]) last = await next(backend, last);
});

onEach(
  "session: the next client creates a dropped table of tokens again, and draws above all earlier ones",
  async (place) => {
    const early = await place.backend({ mode });
    let last = await next(early, 0n);
    for (let round = 0; round < 2; round++) {
      await place.ask("DROP TABLE lockmgr_locks_tokens");
      last = await next(early, last);
      await using late = await mysqlBackend(place.url, { mode });
      await next(late, last);
    }
  },
);

onEach("session: a session is opened although its statements are chosen to end deadlocks", async (place) => {
  await using connection = await createConnection({
    uri: place.url,
    rowsAsArray: true,
    typeCast: (field) => field.string(),
  });
  const refused: string[] = [];
  const query = async (sql: string) => {
    const kind = sql.trim().split(" ")[0];
    if (kind !== "SELECT" && refused.filter((each) => each === kind).length < 5) {
      refused.push(kind);
      throw Object.assign(new Error("Deadlock found when trying to get lock"), { errno: 1213 });
    }
    const [answer] = await connection.query(sql);
    return Array.isArray(answer) ? { rows: answer, affectedRows: 0 } : { rows: [], ...answer };
  };
  const drawToken = await openTokens({ query } as unknown as MysqlSession, "lockmgr_locks", true);
  assert.deepEqual([...new Set(refused)], ["CREATE", "INSERT", "UPDATE"]);
  const [[drawn]] = (await query("SELECT UUID_SHORT()")).rows as string[][];
  assert(await drawToken(BigInt(drawn), 0n) > 0n);
});
