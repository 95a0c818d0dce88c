import { connect, getLock, isLocked, listLocks, setLock, tryLock, unlock } from "@lockmgr/lockmgr";
import { advisoryLock, postgresBackend } from "@lockmgr/lockmgr/postgres";
import assert from "node:assert/strict";
import { later } from "../conformance/case.ts";
import { skip, test } from "../harness.ts";
import { administrator, freshTable, server } from "./server.ts";

/** What an error has to say: its kind, and words of its reason and way out. */
function refusal(name: string, ...words: RegExp[]) {
  return (error: Error) => {
    assert.equal(error.name, name, String(error));
    for (const word of words) assert.match(error.message, word);
    return true;
  };
}

const replica = "every mode refuses a read-only replica and says what to do; reading goes on";
if (!server.replicable) skip(replica, "pg_basebackup is not installed");
else {
  test(replica, async () => {
    const table = freshTable();
    await using primary = await connect(server.url, { table });
    await using _held = await getLock("a", { backend: primary });
    await using follower = await server.replica();
    for (const mode of ["session", "hybrid"] as const) {
      const refused = refusal("UnsupportedError", /replica/, /primary/, /"lease"/);
      await assert.rejects(connect(follower.url, { mode, table }), refused);
      await assert.rejects(connect(follower.url, { mode, table: freshTable() }), /replica.*want the primary/);
    }
    await using backend = await connect(follower.url, { table });
    const refused = refusal("BackendError", /read-only, as a replica is/, /want the primary/);
    await assert.rejects(tryLock("a", { backend }), refused);
    await assert.rejects(getLock("b", { backend, wait: 0.5 }), refused);
    await assert.rejects(unlock("a", { backend }), refused);
    await assert.rejects(setLock(["b"], { backend }), refused);
    await assert.rejects(advisoryLock(backend, 1), refusal("UnsupportedError", /replica/, /primary/));
    assert.equal(await isLocked("a", { backend }), true);
    assert.deepEqual((await listLocks({ backend })).map(({ name }) => name), ["a"]);
    const findings = await backend.diagnose!();
    assert.equal(findings.find(({ what }) => what === "replica")?.state, "problem");
  });
}

test("CockroachDB serves leases only", async () => {
  await using sql = administrator();
  await sql.unsafe(`CREATE SCHEMA crdb;
    CREATE FUNCTION crdb.version() RETURNS text LANGUAGE sql
      AS $$ SELECT 'CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu, built 2024/05/15 21:28:29, go1.22.2)' $$;
    CREATE ROLE roach LOGIN SUPERUSER; ALTER ROLE roach SET search_path = crdb, pg_catalog, public`);
  const url = server.urlOf("postgres", "roach");
  const table = freshTable();
  for (const mode of ["session", "hybrid"] as const) {
    await assert.rejects(connect(url, { mode, table }), refusal("UnsupportedError", /CockroachDB/, /want "lease"/));
  }
  await using backend = await connect(url, { table });
  await using other = await connect(url, { table });
  await assert.rejects(advisoryLock(backend, 1), refusal("UnsupportedError", /CockroachDB/));
  const held = await getLock("a", { backend });
  const waiting = later(getLock("a", { backend: other, wait: 10 }));
  await held.unlock();
  await (await waiting).unlock();
  const findings = await backend.diagnose!();
  assert.equal(findings.find(({ what }) => what === "version")?.state, "warning");
});

test("an old option name is refused with the present name", async () => {
  const options = { max: 4 } as unknown as Parameters<typeof postgresBackend>[1];
  await assert.rejects(postgresBackend(server.url, options), refusal("TypeError", /option "max"/, /"maxConnections"/));
  await assert.rejects(postgresBackend(server.url, { maxConnections: 0 }), refusal("RangeError", /maxConnections 0/));
});
