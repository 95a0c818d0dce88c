/**
 * What the server, its settings and this user mean for locks.
 *
 * @module
 */
import type { Diagnostic, Mode } from "../../core/backend.ts";
import type { Connection } from "./connection/connection.ts";
import type { Connector } from "./connection/connector.ts";
import { isDenied, isMissingTable, translate } from "./errors.ts";
import { columnsOf, hasTable, tokenTable } from "./schema.ts";
import { clusterOf, describe, QUESTIONS, readOnlyBy, type Server } from "./connection/server.ts";
import { quoted } from "./connection/sql.ts";

/** Settings that are looked at here only. */
const SETTINGS = "SHOW VARIABLES WHERE Variable_name IN ('innodb_flush_log_at_trx_commit', 'max_connections')";
/** Connections in use, as a share of those allowed, from which on it is worth knowing. */
const CROWDED = 0.9;

/** Looks at the server on a connection of its own. Changes nothing. */
export async function diagnose(connector: Connector, mode: Mode): Promise<Diagnostic[]> {
  const what = "diagnose the server";
  const connection = await connector.connect(what);
  try {
    const ofTheServer = QUESTIONS[0].replace("SHOW", "SHOW GLOBAL"); // not of this connection, which has its own
    const server = describe([await connection.query(ofTheServer), await connection.query(QUESTIONS[1])]);
    const settings = new Map((await connection.query(SETTINGS)).rows as [string, string][]);
    return [
      version(server),
      cluster(server),
      replica(server),
      isolation(server),
      durability(settings.get("innodb_flush_log_at_trx_commit")),
      await pooler(connection),
      await crowd(connection, Number(settings.get("max_connections"))),
      ...await (mode === "session" ? tokens : tableAndRights)(connection, connector.target.options.table),
    ];
  } catch (error) {
    throw translate(what, error);
  } finally {
    connection.end(new Error("the examination is over"));
  }
}

function version({ kind, version }: Server): Diagnostic {
  return { what: "version", state: "ok", detail: `${kind === "mariadb" ? "MariaDB" : "MySQL"} ${version}` };
}

function cluster(server: Server): Diagnostic {
  const what = "cluster";
  const reason = clusterOf(server);
  if (reason === undefined) return { what, state: "ok", detail: "session locks hold on the whole server" };
  const advice = 'Use "lease", and write to one node: a commit there may still fail where others write as well';
  return { what, state: "warning", detail: reason, advice };
}

function replica(server: Server): Diagnostic {
  const what = "replica";
  const setting = readOnlyBy(server);
  if (setting === undefined) return { what, state: "ok", detail: "the server takes writes" };
  const detail = `the server is read-only (${setting})`;
  return { what, state: "problem", detail, advice: "Connect to the primary; is this one to be it, switch that off" };
}

function isolation({ readCommitted, isolation }: Server): Diagnostic {
  const what = "isolation";
  if (readCommitted) {
    return { what, state: "ok", detail: `READ COMMITTED on our connections; the server's default is ${isolation}` };
  }
  const detail = `${isolation}, because binlog_format is STATEMENT: tries on a held name wait for each other`;
  return { what, state: "note", detail, advice: "SET GLOBAL binlog_format = 'ROW'" };
}

function durability(flush: string | undefined): Diagnostic {
  const what = "durability";
  const detail = `innodb_flush_log_at_trx_commit is ${flush}`;
  if (flush === "1") return { what, state: "ok", detail };
  const advice = "SET GLOBAL innodb_flush_log_at_trx_commit = 1: a crash of the machine may undo the last grants";
  return { what, state: "warning", detail, advice };
}

/** A proxy greets with an id of its own. */
async function pooler(connection: Connection): Promise<Diagnostic> {
  const what = "pooler";
  const { rows: [[id]] } = await connection.query("SELECT CONNECTION_ID()");
  if (Number(id) === connection.id) return { what, state: "ok", detail: "no proxy is in between" };
  const advice = 'For "session" and "hybrid" connect to the server itself, or make the proxy pin connections';
  return { what, state: "note", detail: "a proxy is in between", advice };
}

async function crowd(connection: Connection, allowed: number): Promise<Diagnostic> {
  const what = "connections";
  const { rows: [[, used]] } = await connection.query("SHOW GLOBAL STATUS LIKE 'Threads_connected'");
  const detail = `${used} of ${allowed} are in use`;
  if (Number(used) < CROWDED * allowed) return { what, state: "ok", detail };
  return { what, state: "warning", detail, advice: "Raise max_connections, or lower the option maxConnections" };
}

async function tableAndRights(connection: Connection, table: string): Promise<Diagnostic[]> {
  const what = "table";
  const name = JSON.stringify(table);
  try {
    if (!hasTable(table, (await connection.query(columnsOf(table))).rows)) {
      const detail = `${name} is not there, or may not be seen: the first use creates it`;
      return [{ what, state: "note", detail }];
    }
  } catch (error) {
    return [{ what, state: "problem", detail: (error as Error).message, advice: "Choose another one with --table" }];
  }
  const there: Diagnostic = { what, state: "ok", detail: `${name} is there, with the columns it needs` };
  return [there, await rights(connection, table)];
}

/** Tells of tokens only where they are not what they should be. */
async function tokens(connection: Connection, table: string): Promise<Diagnostic[]> {
  const name = tokenTable(table);
  const target = quoted(name);
  const uses = [
    `SELECT base FROM ${target}`,
    `INSERT INTO ${target} (id, base, first, reserved, sessions, revision) VALUES (1, 0, 0, 0, '', 0)`,
    `UPDATE ${target} SET revision = 0`,
  ];
  try {
    for (const use of uses) await connection.query(`EXPLAIN ${use}`);
    return [];
  } catch (error) {
    if (!isDenied(error) && !isMissingTable(error)) throw error;
  }
  const detail = `tokens of session locks are the server's clock, and fall when it is set back: ${
    JSON.stringify(name)
  } is not there, or may not be used`;
  const advice = `Create it (lockmgr schema prints how), and GRANT SELECT, INSERT, UPDATE ON ${target}`;
  return [{ what: "tokens", state: "warning", detail, advice }];
}

/** What the lock table is used with. To explain a statement takes the rights that running it would take. */
const USES = {
  SELECT: (table: string) => `SELECT name FROM ${table}`,
  INSERT: (table: string) =>
    `INSERT INTO ${table} (name, token, locked_by, created_at, updated_at) VALUES ('', 0, '', 0, 0)`,
  UPDATE: (table: string) => `UPDATE ${table} SET token = 0`,
  DELETE: (table: string) => `DELETE FROM ${table}`,
};

async function rights(connection: Connection, table: string): Promise<Diagnostic> {
  const what = "privileges";
  const lacking: string[] = [];
  for (const [right, use] of Object.entries(USES)) {
    await connection.query(`EXPLAIN ${use(quoted(table))}`).catch((error) => {
      if (!isDenied(error) && !isMissingTable(error)) throw error;
      lacking.push(right);
    });
  }
  const { rows: [[user]] } = await connection.query("SELECT CURRENT_USER()");
  if (lacking.length === 0) return { what, state: "ok", detail: `${user} may use ${JSON.stringify(table)}` };
  const [name, host] = user!.split("@").map((part) => `'${part}'`);
  const detail = `${user} lacks ${lacking.join(", ")} on ${JSON.stringify(table)}`;
  return {
    what,
    state: "problem",
    detail,
    advice: `GRANT ${lacking.join(", ")} ON ${quoted(table)} TO ${name}@${host}`,
  };
}
