/**
 * Every backend and mode that the conformance suite runs over. A folder in `backends/` that is missing here fails a test.
 *
 * @module
 */
import type { Backend, Mode } from "@lockmgr/lockmgr";
import { connect } from "@lockmgr/lockmgr";
import { mysqlBackend, type MysqlFunction } from "@lockmgr/lockmgr/mysql";
import { postgresBackend } from "@lockmgr/lockmgr/postgres";
import { sqliteBackend, type SqliteDatabase } from "@lockmgr/lockmgr/sqlite";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createPool, type Pool } from "mysql2/promise";
import pg from "pg";
import createSql from "postgres";
import { dbSqlite } from "../drivers/stand_ins.ts";
import { startMariadb } from "../servers/mariadb.ts";
import { startMysql } from "../servers/mysql.ts";
import { emptyDatabase } from "../servers/mysql_database.ts";
import type { MysqlServer } from "../servers/mysql_server.ts";
import { PgBouncer } from "../servers/pgbouncer.ts";
import { PostgresServer } from "../servers/postgres.ts";
import { mysqlTable, postgresTable, sqliteTable, type Table } from "./tables.ts";

/** A database of one test's own. */
export interface Database extends AsyncDisposable {
  /** Opens a client of it. */
  open(): Promise<Backend>;
  /** Its lock table, if the mode has one. */
  readonly table: Table;
}

/** One backend in one mode. */
export interface Registration {
  /** The folder in `backends/`. */
  readonly engine: string;
  /** The engine and mode, for the names of the tests. */
  readonly name: string;
  /** How it keeps its locks. */
  readonly mode: Mode;
  /** Makes a fresh database. */
  create(): Promise<Database>;
}

/** A database whose clients `open` makes; `cleanUp` runs after they are closed. */
export function databaseOf(open: () => Promise<Backend>, cleanUp: () => Promise<void>, table: Table): Database {
  return { open, table, [Symbol.asyncDispose]: cleanUp };
}

const sqlite: Registration = {
  engine: "sqlite",
  name: "sqlite lease",
  mode: "lease",
  async create() {
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
    const path = join(directory, "locks.db");
    return databaseOf(() => connect(`sqlite:${path}`), () => rm(directory, { recursive: true }), sqliteTable(path));
  },
};

/** Handles of the program's own that read as `jsr:@db/sqlite` does, every other one with default options. */
const dbSqliteHandles: Registration = {
  engine: "sqlite",
  name: "sqlite handles of @db/sqlite lease",
  mode: "lease",
  async create() {
    const directory = await mkdtemp(join(tmpdir(), "lockmgr-"));
    const path = join(directory, "locks.db");
    const handles: SqliteDatabase[] = [];
    const open = () => {
      const handle = dbSqlite(path, handles.length % 2 === 0 ? {} : { int64: true, parsed: true });
      handles.push(handle);
      handle.exec("PRAGMA journal_mode = WAL");
      return sqliteBackend(handle);
    };
    return databaseOf(open, async () => {
      for (const handle of handles) handle.close();
      await rm(directory, { recursive: true });
    }, sqliteTable(path));
  },
};

/**
 * Another server, a pooler or settings make no difference to the runtime: they are tested on Deno alone. Pools of the
 * caller's are tried in short on every runtime (`tests/orms/`).
 */
const onDeno = "Deno" in globalThis;

/** Each fixture on one server has a table, and with it keys and a sequence, of its own. */
let tables = 0;

/** A mode of PostgreSQL at an address. */
function postgres(name: string, mode: Mode, url: string): Registration {
  return {
    engine: "postgres",
    name: `${name} ${mode}`,
    mode,
    create() {
      const table = `fixture_${tables++}`;
      const open = () => connect(url, { mode, table });
      return Promise.resolve(databaseOf(open, () => Promise.resolve(), postgresTable(url, table)));
    },
  };
}

/** Leases through a `sql` of the caller's whose connections and rows have settings of their own. */
function oddPostgres(url: string): Registration {
  return {
    engine: "postgres",
    name: "postgres sql with odd settings lease",
    mode: "lease",
    create() {
      const table = `public.fixture_${tables++}`;
      const sql = createSql(url, {
        max: 4,
        max_lifetime: null, // its timer outlives an instance that is ended while it connects
        onnotice: () => {},
        connection: POSTGRES_SETTINGS as never,
        transform: createSql.pascal,
      });
      const open = () => postgresBackend(sql, { table });
      return Promise.resolve(databaseOf(open, () => sql.end(), postgresTable(url, table)));
    },
  };
}

/** The modes through node-postgres: each in full on one runtime, and all in short on every one (`tests/drivers/`). */
const PG_MODES: readonly Mode[] = onDeno ? ["hybrid"] : "Bun" in globalThis ? ["session"] : ["lease"];

/** A mode of PostgreSQL through pools of node-postgres with little room, where parsers change every value. */
function nodePostgres(mode: Mode, url: string): Registration {
  return {
    engine: "postgres",
    name: `postgres pg ${mode}`,
    mode,
    create() {
      const table = `fixture_${tables++}`;
      const pools: pg.Pool[] = [];
      const open = () => {
        const types = { getTypeParser: () => () => "parsed by the program" };
        const pool = new pg.Pool({ connectionString: url, max: 2, types });
        pools.push(pool);
        return postgresBackend(pool, { mode, table });
      };
      return Promise.resolve(databaseOf(open, async () => {
        for (const pool of pools) await pool.end();
      }, postgresTable(url, table)));
    },
  };
}

/** What starts a server of each flavor. */
const STARTS = { mysql: startMysql, mariadb: startMariadb };
/** The flavors: both on Deno, one on each other runtime, since the backend and the driver are the same. */
const MYSQL_FLAVORS = onDeno ? ["mysql", "mariadb"] as const : ["Bun" in globalThis ? "mariadb" : "mysql"] as const;

/** The modes of the servers that have sessions. */
const MODES: readonly Mode[] = ["lease", "session", "hybrid"];

/** One mode of a MySQL or MariaDB. */
function mysql(flavor: string, server: MysqlServer, mode: Mode): Registration {
  return {
    engine: "mysql",
    name: `${flavor} ${mode}`,
    mode,
    async create() {
      const database = await emptyDatabase(server);
      return databaseOf(() => connect(database.url, { mode }), database.leave, mysqlTable(database.url));
    },
  };
}

/** Settings of a caller's connections on MySQL and MariaDB, all at once. */
const MYSQL_SETTINGS = `SET sql_mode = 'HIGH_NOT_PRECEDENCE,ANSI,NO_BACKSLASH_ESCAPES,NO_UNSIGNED_SUBTRACTION',
  sql_select_limit = 2, lc_messages = 'de_DE', time_zone = '-11:00', completion_type = 'CHAIN', sql_safe_updates = 1,
  sql_auto_is_null = 1, group_concat_max_len = 4, max_sort_length = 8, sql_notes = 0`;
/** The same on PostgreSQL. */
const POSTGRES_SETTINGS = {
  DateStyle: "SQL, DMY",
  TimeZone: "Pacific/Kiritimati",
  standard_conforming_strings: "off",
  extra_float_digits: "-15",
  array_nulls: "off",
  transform_null_equals: "on",
  default_transaction_isolation: "serializable",
  search_path: "",
};

/** Leases through pools of the caller's, with the isolation level that servers begin with. */
function mysqlPool(flavor: string, server: MysqlServer, hostile = false): Registration {
  return {
    engine: "mysql",
    name: `${flavor} pool${hostile ? " with odd settings" : ""} lease`,
    mode: "lease",
    async create() {
      const database = await emptyDatabase(server);
      const pools: Pool[] = [];
      const open = () => {
        const options = hostile ? { flags: ["-FOUND_ROWS"], rowsAsArray: true, dateStrings: true } : {};
        const pool = createPool({ uri: database.url, connectionLimit: 4, ...options });
        if (hostile) pool.pool.on("connection", (connection) => void connection.query(MYSQL_SETTINGS, () => {}));
        pools.push(pool);
        return mysqlBackend(pool);
      };
      return databaseOf(open, async () => {
        for (const pool of pools) await pool.end();
        await database.leave();
      }, mysqlTable(database.url));
    },
  };
}

/** Leases through a function of the caller's that sends prepared statements. */
function mysqlFunction(server: MysqlServer): Registration {
  return {
    engine: "mysql",
    name: "mysql function lease",
    mode: "lease",
    async create() {
      const database = await emptyDatabase(server);
      const pool = createPool({ uri: database.url, connectionLimit: 8 });
      const send: MysqlFunction = (sql, parameters) => pool.execute(sql, parameters);
      return databaseOf(() => mysqlBackend(send), async () => {
        await pool.end();
        await database.leave();
      }, mysqlTable(database.url));
    },
  };
}

/** Each engine by its folder in `backends/`: starts its servers and says what the suite runs over. */
export const engines: Readonly<Record<string, () => Promise<Registration[]>>> = {
  sqlite: () => Promise.resolve([sqlite, dbSqliteHandles]),

  async postgres() {
    const installed = await PostgresServer.start();
    const always = [
      ...MODES.map((mode) => postgres("postgres", mode, installed.url)),
      ...PG_MODES.map((mode) => nodePostgres(mode, installed.url)),
    ];
    if (!onDeno) return always;
    const pooled = await PgBouncer.start(installed.port);
    const newest = await PostgresServer.start({ version: "newest" });
    return [
      ...always,
      postgres("pgbouncer", "lease", pooled.url),
      postgres("postgres newest", "hybrid", newest.url), // which has rows and sessions
      oddPostgres(installed.url),
    ];
  },

  async mysql() {
    const servers = await Promise.all(MYSQL_FLAVORS.map(async (flavor) => [flavor, await STARTS[flavor]()] as const));
    return servers.flatMap(([flavor, server]) => [
      ...MODES.map((mode) => mysql(flavor, server, mode)),
      ...onDeno ? [mysqlPool(flavor, server, true)] : [],
      ...onDeno && flavor === "mysql" ? [mysqlPool(flavor, server), mysqlFunction(server)] : [],
    ]);
  },
};

/** `LOCKMGR_TEST_ENGINES=sqlite,postgres` runs over these only. */
const chosen = process.env.LOCKMGR_TEST_ENGINES?.split(",") ?? Object.keys(engines);

/** What the suite runs over. */
export const registrations: readonly Registration[] = (await Promise.all(chosen.map((engine) => engines[engine]())))
  .flat();
