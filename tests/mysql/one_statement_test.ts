/**
 * One statement in each text: a second one, in a name, a text or an option, is never run.
 *
 * @module
 */
import {
  type Backend,
  getLock,
  isLocked,
  listLocks,
  type Mode,
  renewLock,
  resetLocks,
  setLock,
  tryLock,
  unlock,
} from "@lockmgr/lockmgr";
import { mysqlBackend, TableLock, UserLock } from "@lockmgr/lockmgr/mysql";
import assert from "node:assert/strict";
import { createPool } from "mysql2/promise";
import { Connector } from "../../backends/mysql/connection/connector.ts";
import { resolveTarget } from "../../backends/mysql/options.ts";
import { onEach } from "./flavors.ts";

/** Texts that would end a statement, or a quoted part of it, and begin another one. */
const HOSTILE = ["a'", 'a"', "a`", "a\\'", "a", "a*/", "a')", "a%"].map((text) => `${text}; DROP TABLE things; -- `);

onEach("connections of lockmgr refuse a second statement in one text, whatever the target allows", async ({ url }) => {
  const pool = createPool({ uri: url, multipleStatements: true });
  for (const target of [url, `${url}?multipleStatements=true`, pool]) {
    const connector = new Connector(resolveTarget(target, {}));
    const connection = await connector.connect("try two statements");
    await assert.rejects(connection.query("SELECT 1; SELECT 2"), /error in your SQL syntax/);
    await assert.rejects(connection.queryAsIs("SELECT ?; SELECT 2", [1]), /error in your SQL syntax/);
    connector.close();
  }
  await pool.end();
});

/** Gives each verb a hostile text wherever it takes one. */
async function hostileVerbs(backend: Backend, mode: Mode, text: string): Promise<void> {
  const lock = mode === "session"
    ? await getLock(text, { backend })
    : await getLock(text, { backend, lockedBy: text, metadata: { [text]: text } });
  assert.equal(await tryLock(text, { backend }), undefined);
  assert.equal(await isLocked(text, { backend }), true);
  if (mode !== "session") {
    await renewLock(text, { backend, expires: 90 });
    await setLock([text, `${text}2`], { backend, lockedBy: text });
    assert.equal((await listLocks({ backend, prefix: text })).length, 2);
    assert.equal(await unlock(text, { backend }), true);
    assert.equal(await resetLocks({ backend }), 1);
  } else assert.equal(await lock.unlock(), true);
}

onEach("a second statement in a name, a text or an option is never run", async (place) => {
  await place.ask("CREATE TABLE things (id INT PRIMARY KEY)");
  const pool = createPool({ uri: place.url, multipleStatements: true });
  for (const mode of ["lease", "hybrid", "session"] as const) {
    await using backend = await mysqlBackend(pool, { mode });
    for (const text of HOSTILE) {
      await hostileVerbs(backend, mode, text);
      await assert.rejects(async () => await mysqlBackend(pool, { mode, table: text }), /Cannot/);
    }
  }
  await using backend = await mysqlBackend(pool);
  for (const text of HOSTILE) {
    const lock = await new UserLock(text.slice(0, 64), { backend }).acquire();
    assert.equal(await lock.isHeld(), true);
    await lock.release();
    await assert.rejects(async () => await new TableLock({ write: [text], backend }).acquire());
  }
  await pool.end();
  assert.deepEqual(await place.ask("SELECT * FROM things"), []);
});
