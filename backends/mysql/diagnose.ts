/**
 * Finds out what the server, its settings and the user's privileges mean for locks.
 *
 * @module
 */
import type { Diagnostic, Mode } from "../../core/backend.ts";
import type { Connection } from "./connection/connection.ts";
import type { Connector } from "./connection/connector.ts";
import { clusterOf, confirmsCommits, describe, readOnlyBy, type Server } from "./connection/server.ts";
import { quoted } from "./connection/inline_parameters.ts";
import { isDenied, isMissingTable, translate } from "./errors.ts";
import { SESSIONS_END } from "../sessions/session_engine.ts";
import { tableDiagnostic } from "../shared/found_table.ts";
import { columnsOf, findTable, tokenTable } from "./schema.ts";

/** Reads settings that matter here only. */
const SETTINGS = "SHOW VARIABLES WHERE Variable_name IN ('innodb_flush_log_at_trx_commit', 'max_connections')";
/** The share of connections in use from which on a warning is due. */
const USED_SHARE = 0.9;

/** Diagnoses the server on a connection of its own. Changes nothing. */
export async function diagnose(connector: Connector, mode: Mode): Promise<Diagnostic[]> {
  const what = "diagnose the server";
  const connection = await connector.connect(what);
  try {
    // this connection has other settings
    const server = await describe((sql) => connection.query(sql.replace("SHOW VARIABLES", "SHOW GLOBAL VARIABLES")));
    const settings = new Map((await connection.query(SETTINGS)).rows as [string, string][]);
    return [
      ...serverDiagnostics(server),
      durability(settings.get("innodb_flush_log_at_trx_commit")),
      await pooler(connection),
      ...await failover(connection, server, mode),
      await usedConnections(connection, Number(settings.get("max_connections"))),
      ...await (mode === "session" ? tokens : tableAndPrivileges)(connection, connector.target.options.table),
    ];
  } catch (error) {
    throw translate(what, error);
  } finally {
    connection.end(new Error("the diagnosis is over"));
  }
}

function serverDiagnostics(server: Server): Diagnostic[] {
  const product = server.kind === "mariadb" ? "MariaDB" : "MySQL";
  const cluster = clusterOf(server);
  const readOnly = readOnlyBy(server);
  const { isolation } = server;
  return [
    { what: "version", state: "ok", detail: `${product} ${server.version}` },
    cluster === undefined ? { what: "cluster", state: "ok", detail: "session locks hold on the whole server" } : {
      what: "cluster",
      state: "warning",
      detail: cluster,
      advice:
        'Use "lease", and write to one node: where others are written to as well, a commit may fail, and a lease ' +
        "ends early by as much as their clocks are ahead",
    },
    readOnly === undefined ? { what: "replica", state: "ok", detail: "the server accepts writes" } : {
      what: "replica",
      state: "problem",
      detail: `the server is read-only (${readOnly})`,
      advice: "Connect to the primary; if this is meant to be the primary, switch that setting off",
    },
    server.readCommitted
      ? {
        what: "isolation",
        state: "ok",
        detail: `READ COMMITTED on connections of lockmgr; the server's default is ${isolation}`,
      }
      : {
        what: "isolation",
        state: "note",
        detail: `${isolation}, because binlog_format is STATEMENT: attempts on a held name wait for each other`,
        advice: "SET GLOBAL binlog_format = 'ROW'",
      },
    ...server.readCommitted ? [] : [{
      what: "user locks",
      state: "warning" as const,
      detail: "binlog_format is STATEMENT: a replica runs a change that calls GET_LOCK again, with locks of its own",
      advice: "Acquire user locks with UserLock, whose statements are not logged, or SET GLOBAL binlog_format = 'ROW'",
    }],
  ];
}

function durability(flush: string | undefined): Diagnostic {
  const detail = `innodb_flush_log_at_trx_commit is ${flush}`;
  if (flush === "1") return { what: "durability", state: "ok", detail };
  const advice = "SET GLOBAL innodb_flush_log_at_trx_commit = 1: a crash of the machine may undo the last grants";
  return { what: "durability", state: "warning", detail, advice };
}

/** A proxy sends a connection id of its own in its greeting. */
async function pooler(connection: Connection): Promise<Diagnostic> {
  const { rows: [[id]] } = await connection.query("SELECT CONNECTION_ID()");
  if (Number(id) === connection.id) {
    return { what: "pooler", state: "ok", detail: "there is no proxy before the server" };
  }
  const advice = 'For "session" and "hybrid" connect to the server itself, or make the proxy pin connections';
  return { what: "pooler", state: "note", detail: "there is a proxy before the server", advice };
}

/** Reports the replicas that a user sees: those of others only with the privilege PROCESS. */
async function failover(connection: Connection, server: Server, mode: Mode): Promise<Diagnostic[]> {
  const what = "failover";
  const dumps = "SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'";
  const { rows: [[replicas]] } = await connection.query(dumps);
  if (replicas === "0") return [];
  const detail = `replicas attached: ${replicas}`;
  if (mode === "session") return [{ what, state: "warning", detail, advice: SESSIONS_END }];
  if (confirmsCommits(server)) return [{ what, state: "ok", detail: `${detail}, commits wait for one` }];
  const advice = "Use semi-synchronous replication: without it a failover may lose the last grants";
  return [{ what, state: "warning", detail, advice }];
}

async function usedConnections(connection: Connection, allowed: number): Promise<Diagnostic> {
  const { rows: [[, used]] } = await connection.query("SHOW GLOBAL STATUS LIKE 'Threads_connected'");
  const detail = `${used} of ${allowed} are in use`;
  if (Number(used) < USED_SHARE * allowed) return { what: "connections", state: "ok", detail };
  const advice = "Raise max_connections, or lower the option maxConnections";
  return { what: "connections", state: "warning", detail, advice };
}

/** Returns those of the statements that may not be run: EXPLAIN requires the privileges of its statement. */
async function refused(connection: Connection, statements: Record<string, string>): Promise<string[]> {
  const found: string[] = [];
  for (const [privilege, statement] of Object.entries(statements)) {
    await connection.query(`EXPLAIN ${statement}`).catch((error) => {
      if (!isDenied(error) && !isMissingTable(error)) throw error;
      found.push(privilege);
    });
  }
  return found;
}

async function tableAndPrivileges(connection: Connection, table: string): Promise<Diagnostic[]> {
  const { rows } = await connection.query(columnsOf(table));
  const found = tableDiagnostic(table, () => findTable(table, rows));
  return found.state === "ok" ? [found, await privileges(connection, table)] : [found];
}

async function privileges(connection: Connection, table: string): Promise<Diagnostic> {
  const what = "privileges";
  const target = quoted(table);
  const missing = await refused(connection, {
    SELECT: `SELECT name FROM ${target}`,
    INSERT: `INSERT INTO ${target} (name, token, locked_by, created_at, updated_at) VALUES ('', 0, '', 0, 0)`,
    UPDATE: `UPDATE ${target} SET token = 0`,
    DELETE: `DELETE FROM ${target}`,
  });
  const { rows: [[user]] } = await connection.query("SELECT CURRENT_USER()");
  if (missing.length === 0) return { what, state: "ok", detail: `${user} may use ${JSON.stringify(table)}` };
  const [name, host] = user!.split("@").map((part) => `'${part}'`);
  const detail = `${user} lacks ${missing.join(", ")} on ${JSON.stringify(table)}`;
  const advice = `GRANT ${missing.join(", ")} ON ${target} TO ${name}@${host}`;
  return { what, state: "problem", detail, advice };
}

/** Reports on tokens only where they may decrease. */
async function tokens(connection: Connection, table: string): Promise<Diagnostic[]> {
  const name = tokenTable(table);
  const target = quoted(name);
  const missing = await refused(connection, {
    SELECT: `SELECT base FROM ${target}`,
    INSERT: `INSERT INTO ${target} (id, base, first, reserved, sessions, revision) VALUES (1, 0, 0, 0, '', 0)`,
    UPDATE: `UPDATE ${target} SET revision = 0`,
  });
  if (missing.length === 0) return [];
  const detail = "tokens of session locks are the server's clock, and decrease when it is set back: " +
    `${JSON.stringify(name)} does not exist, or may not be used`;
  const advice = "The first use creates it if it may; else create it as lockmgr schema prints, and " +
    `GRANT SELECT, INSERT, UPDATE ON ${target}`;
  return [{ what: "tokens", state: "warning", detail, advice }];
}
