import { connect, getLock, tryLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { administrator, freshTable, server } from "./server.ts";

test("a table is the same with and without its schema, in every mode", async () => {
  const table = freshTable();
  await using sql = administrator();
  await sql.unsafe(`CREATE SCHEMA app_${table}; CREATE ROLE speller_${table} LOGIN SUPERUSER;
    ALTER ROLE speller_${table} SET search_path = app_${table}`);
  const url = server.urlOf("postgres", `speller_${table}`);
  for (const mode of ["lease", "hybrid", "session"] as const) {
    await using bare = await connect(url, { mode, table });
    await using whole = await connect(server.url, { mode, table: `app_${table}.${table}` });
    const lock = await getLock("a", { backend: bare });
    assert.equal(await tryLock("a", { backend: whole }), undefined, mode);
    const waiting = getLock("a", { backend: whole, wait: 30 });
    await lock.unlock();
    await (await waiting).unlock();
  }
});
