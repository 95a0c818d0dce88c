import { cleanLocks, getLock, listLocks } from "@lockmgr/lockmgr";
import { sqliteBackend } from "@lockmgr/lockmgr/sqlite";
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { test } from "../harness.ts";

test("sqlite: what is held is listed and cleaned by its index, what is named is found by its name", async () => {
  using database = new DatabaseSync(":memory:");
  let prepared: string[] = [];
  await using backend = await sqliteBackend({
    exec: (sql) => database.exec(sql),
    prepare: (sql) => (prepared.push(sql), database.prepare(sql)) as ReturnType<DatabaseSync["prepare"]>,
    close: () => assert.fail("closed a handle that was lent"),
  });
  /** How SQLite looks for rows in the statements that `action` is the first to use. */
  const plan = async (action: () => Promise<unknown>) => {
    prepared = [];
    await action();
    const statements = prepared.filter((sql) => sql.includes("owner"));
    return statements.flatMap((sql) => database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all())
      .map(({ detail }) => String(detail)).filter((detail) => detail.includes("lockmgr_locks"));
  };
  const byName = await plan(async () => (await getLock("report:1", { backend })).unlock());
  assert(byName.length > 0);
  for (const detail of byName) assert.match(detail, /^SEARCH lockmgr_locks USING PRIMARY KEY/);
  await getLock("report:2", { backend });
  const [list] = await plan(() => listLocks({ backend, prefix: "report:" }));
  assert.match(list, /USING (COVERING )?INDEX lockmgr_locks_held/);
  const [clean] = await plan(() => cleanLocks({ backend }));
  assert.match(clean, /USING (COVERING )?INDEX lockmgr_locks_held/);
});
