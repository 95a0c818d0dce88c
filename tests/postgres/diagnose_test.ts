import { connect } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { administrator, freshTable, server } from "./server.ts";

/** The states found, by what was looked at. */
async function diagnose(url: string, options: Record<string, unknown>): Promise<Record<string, string>> {
  await using backend = await connect(url, options);
  return Object.fromEntries((await backend.diagnose!()).map(({ what, state }) => [what, state]));
}

const WELL = {
  version: "ok",
  replica: "ok",
  pooler: "ok",
  table: "ok",
  privileges: "ok",
  durability: "ok",
  failover: "ok",
};

test("diagnose: a healthy server has no findings in any mode", async () => {
  for (const mode of ["lease", "hybrid"] as const) {
    assert.deepEqual(await diagnose(server.url, { mode, table: freshTable() }), WELL);
  }
  const table = freshTable();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  assert.deepEqual(await diagnose(server.url, { mode: "session", table }), WELL);
});

test("diagnose: a pooler is reported", async () => {
  await using pooler = await PgBouncer.start(server.port);
  assert.deepEqual(await diagnose(pooler.url, { table: freshTable() }), { ...WELL, pooler: "note" });
});

test("diagnose: missing privileges are reported with the GRANT statement", async () => {
  await using sql = administrator();
  const table = freshTable();
  await (await connect(server.url, { table }))[Symbol.asyncDispose]();
  await sql.unsafe(`CREATE ROLE reader LOGIN; GRANT SELECT ON ${table} TO reader`);
  await using backend = await connect(server.urlOf("postgres", "reader"), { table, migrate: false });
  const finding = (await backend.diagnose!()).find(({ what }) => what === "privileges");
  assert.equal(finding?.state, "problem");
  await sql.unsafe(finding!.advice!);
  const [later] = (await backend.diagnose!()).filter(({ what }) => what === "privileges");
  assert.equal(later.state, "note"); // the sequence of session locks
});
