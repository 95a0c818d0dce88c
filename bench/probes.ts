/**
 * Counters of the servers, which unlike times are the same in every run.
 *
 * @module
 */
import { createConnection } from "mysql2/promise";
import { readFile } from "node:fs/promises";
import postgres from "postgres";
import type { Engine, Places } from "./places.ts";

/** What a server has counted so far; what it does not count is `NaN`. */
export interface Counts {
  /** Statements sent to it. */
  readonly statements: number;
  /** Transactions that wrote something. */
  readonly commits: number;
  /** Bytes of its log. */
  readonly bytes: number;
}

/** Looks at the counters of one server. */
export interface Probe extends AsyncDisposable {
  /** The counters now, without what the probe itself sends. */
  counts(): Promise<Counts>;
  /** Connections to it, besides the probe's. */
  connections(): Promise<number>;
}

async function postgresProbe(url: string): Promise<Probe> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  const counting = await sql`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`.then(() => true, () => false);
  const own = "%AS probe%"; // values are left out of what is counted, names are not
  return {
    async counts() {
      const [row] = await sql`SELECT true AS probe, pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS bytes,
        pg_snapshot_xmax(pg_current_snapshot())::text AS transactions`;
      const [{ calls }] = counting
        ? await sql`SELECT coalesce(sum(calls), 0)::int AS calls, true AS probe FROM pg_stat_statements WHERE query NOT LIKE ${own}`
        : [{ calls: NaN }];
      return { statements: calls, commits: Number(row.transactions), bytes: Number(row.bytes) };
    },
    async connections() {
      const [{ count }] = await sql`SELECT count(*)::int FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`;
      return count;
    },
    [Symbol.asyncDispose]: () => sql.end(),
  };
}

async function mysqlProbe(url: string, engine: Engine): Promise<Probe> {
  const connection = await createConnection({ uri: url, supportBigNumbers: true, bigNumberStrings: true });
  // deno-lint-ignore no-explicit-any -- rows of all shapes
  const ask = async (sql: string) => (await connection.query(sql))[0] as any[];
  const place = engine === "mysql" ? "SHOW BINARY LOG STATUS" : "SHOW MASTER STATUS";
  const [start] = await ask(place);
  return {
    async counts() {
      const status = await ask("SHOW GLOBAL STATUS LIKE 'Com\\_%'");
      const [{ Status }] = await ask("SHOW ENGINE INNODB STATUS");
      const events = await ask(`SHOW BINLOG EVENTS IN '${start.File}' FROM ${start.Position}`);
      const looks = /^Com_(show_\w+|admin_commands)$/;
      return {
        statements: status.filter(({ Variable_name }) => !looks.test(Variable_name))
          .reduce((sum, { Value }) => sum + Number(Value), 0),
        commits: events.filter(({ Event_type }) => Event_type === "Xid").length,
        bytes: Number(/Log sequence number\s+(\d+)/.exec(Status)![1]) +
          Number(events.at(-1)?.End_log_pos ?? start.Position),
      };
    },
    async connections() {
      const all = await ask("SHOW PROCESSLIST");
      return all.filter(({ User, Command }) => User === "tester" && Command !== "Daemon").length - 1;
    },
    [Symbol.asyncDispose]: () => connection.end(),
  };
}

/** Bytes of a frame's header in SQLite's write-ahead log, and of the log's own. */
const [FRAME, HEADER] = [24, 32];

/** Reads SQLite's write-ahead log: the last frame of each transaction says how large the database is now. */
function sqliteProbe(path: string): Probe {
  return {
    async counts() {
      const log = await readFile(`${path}-wal`).catch(() => new Uint8Array());
      const view = new DataView(log.buffer, log.byteOffset, log.byteLength);
      if (log.length < HEADER) return { statements: NaN, commits: 0, bytes: 0 };
      const page = view.getUint32(8);
      let commits = 0;
      for (let at = HEADER; at + FRAME + page <= log.length; at += FRAME + page) {
        if (view.getUint32(at + 4) !== 0) commits++;
      }
      return { statements: NaN, commits, bytes: log.length };
    },
    connections: () => Promise.resolve(NaN),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** Opens the counters of an engine; those of SQLite are of the database at `path`. */
export function openProbe(places: Places, engine: Engine, path: string): Promise<Probe> {
  if (engine === "postgres") return postgresProbe(places.postgres!);
  return engine === "sqlite" ? Promise.resolve(sqliteProbe(path)) : mysqlProbe(places[engine]!, engine);
}
