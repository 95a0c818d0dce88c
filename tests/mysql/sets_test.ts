import { getLock, getLocks, Locked } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { statements, writtenBy } from "./counting.ts";
import { onEach, until } from "./flavors.ts";

/** Seconds: so long that no heartbeat is counted, also where the machine stands still in the middle of a test. */
const sessionTimeout = 600;

/** Whether an error says that this test's other host has the lock. */
function hasHolder(error: unknown): boolean {
  return error instanceof Locked && error.holder?.lockedBy === "host-a";
}

for (const mode of ["lease", "hybrid"] as const) {
  onEach(
    `${mode}: several free names together are one statement, new or known; a failed attempt writes nothing`,
    async (place) => {
      const backend = await place.backend({ mode, sessionTimeout });
      const other = await place.backend({ mode, sessionTimeout });
      const names = Array.from({ length: 10 }, (_, index) => `lock ${index}`);
      for (const round of ["new", "known", "known to another"]) {
        const user = round === "known to another" ? other : backend;
        let set: Awaited<ReturnType<typeof getLocks>>;
        assert.equal(
          await statements(place, async () => void (set = await getLocks(names, { backend: user }))),
          1,
          round,
        );
        const rows = await place.ask("SELECT name, token FROM lockmgr_locks ORDER BY name");
        assert.deepEqual(rows.map(({ token }) => String(token)), set!.locks.map(({ token }) => String(token)), round);
        assert.equal(await set!.unlock(), true);
      }
      const last = await getLock(names[9], { backend, lockedBy: "host-a" });
      const attempt = () => assert.rejects(getLocks(names, { backend: other }), hasHolder);
      assert.equal(await statements(place, attempt), 2); // the first also reads the holder
      assert.equal(await statements(place, attempt), 1);
      const fresh = async () => {
        const another = await place.backend({ mode, sessionTimeout });
        await assert.rejects(getLocks([...names, "new"].sort(), { backend: another }), hasHolder);
      };
      assert.equal(await writtenBy(place, fresh), 0n);
      await last.unlock();
      const ahead = BigInt(Date.now() + 3_600_000) * 1_000n;
      await place.ask(`UPDATE lockmgr_locks SET token = ${ahead} WHERE name = 'lock 3'`);
      const set = await getLocks(names, { backend });
      assert.equal(set.locks[3].token, ahead + 1n);
      await set.unlock();
    },
  );
}

onEach("of several names none is acquired when one was taken after it was seen free", async (place) => {
  const backend = await place.backend();
  const names = ["a", "b", "c"];
  for (const round of ["new", "known"]) {
    const stranger = await mysql.createConnection(place.url);
    await using _ = { [Symbol.asyncDispose]: () => stranger.end() };
    await stranger.query("START TRANSACTION");
    await stranger.query(`INSERT INTO lockmgr_locks
      (name, owner, token, locked_by, locked_until, created_at, updated_at) VALUES ('b', 'x', 7, 'host-a', NULL, 1, 1)
      ON DUPLICATE KEY UPDATE owner = 'x', locked_by = 'host-a', locked_until = NULL`);
    const refused = assert.rejects(getLocks(names, { backend }), hasHolder);
    await until("it waits for the row", async () => {
      await new Promise((resolve) => setTimeout(resolve, 150)); // InnoDB renews the view 100 ms after it was last read
      const [{ waiting }] = await place.ask(`SELECT COUNT(*) AS waiting FROM information_schema.innodb_trx
        JOIN information_schema.processlist ON id = trx_mysql_thread_id
        WHERE trx_state = 'LOCK WAIT' AND db = '${place.name}'`);
      return Number(waiting) === 1;
    });
    await stranger.query("COMMIT");
    await refused;
    const held = await place.ask("SELECT name FROM lockmgr_locks WHERE NOT locked_until <=> 0");
    assert.deepEqual(held.map(({ name }) => String(name)), ["b"], round);
    await place.ask("UPDATE lockmgr_locks SET locked_until = 0");
    await getLocks(names, { backend }).then((set) => set.unlock());
  }
});
