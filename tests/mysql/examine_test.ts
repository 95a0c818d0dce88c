import { type Backend, connect, type Mode } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import mysql from "mysql2/promise";
import { test } from "../harness.ts";
import { startGalera } from "../servers/galera.ts";
import { onEach, onOwn } from "./flavors.ts";

const WELL = {
  version: "ok",
  cluster: "ok",
  replica: "ok",
  isolation: "ok",
  durability: "ok",
  pooler: "ok",
  connections: "ok",
};

/** The states found, by what was looked at. */
async function states(backend: Backend): Promise<Record<string, string>> {
  return Object.fromEntries((await backend.diagnose!()).map(({ what, state }) => [what, state]));
}

/** What was found of one thing, and what to do about it. */
async function finding(backend: Backend, what: string): Promise<string> {
  const { state, detail, advice } = (await backend.diagnose!()).find((finding) => finding.what === what)!;
  return `${state}: ${detail}; ${advice}`;
}

onEach("diagnose: a healthy server has no warning in any mode, and is not changed", async (place) => {
  for (const mode of ["lease", "hybrid"] as const) {
    assert.deepEqual(await states(await place.backend({ mode })), { ...WELL, table: "ok", privileges: "ok" });
  }
  assert.deepEqual(await states(await place.backend({ mode: "session" })), WELL);
  const backend = await place.backend();
  const version = (await place.ask("SELECT VERSION() AS version"))[0].version;
  assert(
    (await finding(backend, "version")).includes(`${place.flavor.name === "mysql" ? "MySQL" : "MariaDB"} ${version}`),
  );
  assert.match(
    await finding(backend, "isolation"),
    /READ COMMITTED on connections of lockmgr.*default is REPEATABLE-READ/,
  );
  await place.ask("DROP TABLE lockmgr_locks");
  assert.match(await finding(backend, "table"), /^note: .*first use creates it/);
  await place.ask("CREATE TABLE lockmgr_locks (name INT)");
  assert.match(await finding(backend, "table"), /^problem: .*no column owner/);
});

onEach("diagnose: missing privileges are reported with the GRANT statement", async (place) => {
  await place.backend();
  const user = `reader_${place.name}`;
  const rightsOf = async (...grants: string[]) => {
    await place.ask(`DROP USER IF EXISTS ${user}`, `CREATE USER ${user} IDENTIFIED BY 'pass-word'`, ...grants);
    await using backend = await connect(place.server.urlOf(place.name, user, "pass-word"), { migrate: false });
    return await finding(backend, "privileges");
  };
  const table = `${place.name}.lockmgr_locks`;
  const found = await rightsOf(`GRANT SELECT, UPDATE ON ${table} TO ${user}`);
  assert.match(found, new RegExp(`^problem: .*lacks INSERT, DELETE on .*GRANT INSERT, DELETE ON .* TO '${user}'@'%'`));
  assert.match(await rightsOf(`GRANT INSERT ON ${table} TO ${user}`), /^problem: .*lacks SELECT, UPDATE, DELETE on/);
  assert.equal((await place.ask(`SELECT name FROM ${table}`)).length, 0);
  assert.match(await rightsOf(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${table} TO ${user}`), /^ok: /);
  await place.ask(`DROP USER ${user}`);
});

onOwn(
  "a server that is read-only, forgetful, crowded and logs statements is told of, with what to do",
  ["--innodb-flush-log-at-trx-commit=2", "--binlog-format=STATEMENT", "--max-connections=10"],
  async (place) => {
    const backend = await place.backend();
    const crowd = await Promise.all(Array.from({ length: 8 }, () => mysql.createConnection(place.url)));
    await crowd[0].query("SET GLOBAL read_only = ON");
    const seen = await states(backend);
    const expected = {
      replica: "problem",
      durability: "warning",
      isolation: "note",
      connections: "warning",
      "user locks": "warning",
    };
    assert.deepEqual(seen, { ...WELL, ...expected, table: "ok", privileges: "ok" });
    assert((await backend.diagnose!()).every(({ state, advice }) => state === "ok" || advice));
    for (const connection of crowd) await connection.end();
    for (const mode of ["session", "hybrid"] as Mode[]) {
      await assert.rejects(place.backend({ mode }), /read-only \(read_only\).*want "lease"/);
    }
  },
);

test("mariadb: diagnose: a Galera cluster is reported with advice", async () => {
  await using server = await startGalera();
  await using backend = await connect(server.url);
  assert.match(await finding(backend, "cluster"), /^warning: .*wsrep_on.*"lease"/);
});
