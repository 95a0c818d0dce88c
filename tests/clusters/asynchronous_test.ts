import { connect, getLock } from "@lockmgr/lockmgr";
import assert from "node:assert/strict";
import { createConnection } from "mysql2/promise";
import { test } from "../harness.ts";
import { flavors, until } from "../mysql/flavors.ts";
import { administrator } from "../postgres/server.ts";
import { ask } from "../servers/mysql_database.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { MysqlPair } from "./mysql_pair.ts";
import { mysqlUrl, postgresUrl } from "./promotions.ts";
import { PostgresPair } from "./postgres_pair.ts";

/** More tokens of session locks than a server draws before it writes to its log again. */
const DRAWN = 40;

/** A primary whose commits do not wait for its standby. */
interface Pair extends AsyncDisposable {
  readonly primary: string;
  readonly standby: string;
  /** Where the tokens of session locks come from. */
  readonly tokens: string;
  /** Whether a table with a row of this name has arrived at the standby. */
  has(table: string): Promise<boolean>;
  /** From now on nothing arrives at the standby. */
  cutOff(): Promise<unknown>;
  promote(): Promise<void>;
  /** Runs something in a transaction on the standby, which is the primary by now. */
  transaction(run: (client: object) => Promise<unknown>): Promise<unknown>;
}

async function postgres(): Promise<Pair> {
  const pair = await PostgresPair.of(await PostgresServer.start(), false);
  const sql = administrator(pair.standby.url);
  return {
    primary: postgresUrl(pair.primary.port),
    standby: postgresUrl(pair.standby.port),
    tokens: "session_token",
    has: (table) => sql.unsafe(`SELECT 1 FROM ${table}`).then((rows) => rows.length > 0, () => false),
    async cutOff() {
      await sql.unsafe("ALTER SYSTEM SET primary_conninfo = ''");
      await sql.unsafe("SELECT pg_reload_conf()");
      await until("the standby hears nothing", async () => {
        return (await sql.unsafe("SELECT 1 FROM pg_stat_wal_receiver")).length === 0;
      });
    },
    promote: () => pair.promote("crash"),
    transaction: (run) => sql.begin(run),
    async [Symbol.asyncDispose]() {
      await sql[Symbol.asyncDispose]();
      await pair[Symbol.asyncDispose]();
    },
  };
}

async function mariadb(): Promise<Pair> {
  const pair = await MysqlPair.start(flavors.find(({ name }) => name === "mariadb")!, false);
  const { url } = pair.replica;
  return {
    primary: mysqlUrl(pair.primary.port),
    standby: mysqlUrl(pair.replica.port),
    tokens: "session_tokens",
    has: (table) => ask(url, `SELECT 1 FROM ${table}`).then((rows) => rows.length > 0, () => false),
    cutOff: () => ask(url, "STOP REPLICA IO_THREAD"),
    promote: () => pair.promote("crash"),
    async transaction(run) {
      const connection = await createConnection({ uri: url });
      try {
        await connection.query("BEGIN");
        return await run(connection);
      } finally {
        connection.destroy();
      }
    },
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

test("postgres, mariadb: an asynchronous standby loses a grant: tokens increase, and guard refuses its holder", async () => {
  await Promise.all([postgres, mariadb].map(async (open) => {
    await using pair = await open();
    const modes = ["lease", "hybrid", "session"] as const;
    const early = await Promise.all(modes.map((mode) => connect(pair.primary, { mode, table: mode })));
    for (const [index, backend] of early.entries()) {
      await (await getLock("before", { backend })).unlock();
      await until("the table is there", () => pair.has(modes[index] === "session" ? pair.tokens : modes[index]));
    }
    await pair.cutOff();
    for (let drawn = 0; drawn < DRAWN; drawn++) await (await getLock("a", { backend: early[2] })).unlock();
    const lost = await Promise.all(early.map((backend) => getLock("a", { backend })));
    await pair.promote();
    for (const [index, lock] of lost.entries()) {
      assert(lock.held || modes[index] !== "lease", "its holder believes in a lease"); // the session broke
      const options = { mode: modes[index], table: modes[index] };
      await using backend = await connect(pair.standby, options);
      await using next = await getLock("a", { backend });
      assert(next.token > lock.token, `${next.token} after ${lock.token}`);
      if (modes[index] === "session") continue; // it has no row
      await assert.rejects(pair.transaction((client) => lock.guard(client)), { name: "LockLost" });
    }
    for (const backend of early) await backend[Symbol.asyncDispose]();
  }));
});
