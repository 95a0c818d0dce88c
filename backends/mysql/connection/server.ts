/**
 * What kind of server it is, and what it cannot promise.
 *
 * @module
 */
import type { Mode } from "../../../core/backend.ts";
import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import type { Answer } from "./driver.ts";
import { fromHexadecimal } from "./sql.ts";

/** What is known of a server after one question. */
export interface Server {
  /** MariaDB or MySQL: they differ in GET_LOCK. */
  readonly kind: "mysql" | "mariadb";
  /** The version it tells. */
  readonly version: string;
  /** The database that the connection uses. */
  readonly database: string;
  /** Whether the binary log keeps statements, which a replica runs again (`binlog_format = STATEMENT`). */
  readonly logsStatements: boolean;
  /** Whether a statement may be written at READ COMMITTED: not when the binary log keeps statements. */
  readonly readCommitted: boolean;
  /** The isolation level that connections begin with. */
  readonly isolation: string;
  /** The server's variables that were asked for, by their names in lower case. */
  readonly variables: ReadonlyMap<string, string>;
}

const VARIABLES = [
  "version",
  "version_comment",
  "binlog_format",
  "log_bin",
  "transaction_isolation",
  "tx_isolation",
  "sql_mode",
  "transaction_read_only",
  "tx_read_only",
  "character_set_connection",
  "read_only",
  "super_read_only",
  "innodb_read_only",
  "lower_case_table_names",
  "performance_schema",
  "wsrep_on",
  "group_replication_group_name",
  "group_replication_single_primary_mode",
  "tidb_config",
];

/**
 * The questions: variables that a server does not have are simply missing. The database is asked for as bytes: an answer
 * in the connection's character set has a question mark for each letter that this does not have.
 */
export const QUESTIONS = [
  `SHOW VARIABLES WHERE Variable_name IN (${VARIABLES.map((name) => `'${name}'`).join(", ")})`,
  "SELECT HEX(CONVERT(DATABASE() USING utf8mb4))",
] as const;

/** Puts the answers to {@linkcode QUESTIONS} together. */
export function describe([variables, database]: readonly Answer[]): Server {
  const known = new Map(variables.rows.map(([name, value]) => [name!.toLowerCase(), value ?? ""]));
  const version = known.get("version") ?? "";
  const logsStatements = known.get("binlog_format") === "STATEMENT" && known.get("log_bin") !== "OFF";
  return {
    kind: /mariadb/i.test(`${version} ${known.get("version_comment")}`) ? "mariadb" : "mysql",
    version,
    database: fromHexadecimal(database.rows[0]?.[0] ?? ""),
    logsStatements,
    readCommitted: known.get("binlog_format") !== "STATEMENT",
    isolation: known.get("transaction_isolation") ?? known.get("tx_isolation") ?? "",
    variables: known,
  };
}

/** In what kind of cluster session locks hold on a part of it only; `undefined` outside of one. */
export function clusterOf({ version, variables }: Server): string | undefined {
  const comment = variables.get("version_comment") ?? "";
  if (isOn(variables, "wsrep_on")) return "GET_LOCK holds on one node of a Galera cluster only (wsrep_on)";
  const group = variables.get("group_replication_group_name");
  if (group && variables.get("group_replication_single_primary_mode")?.toUpperCase() === "OFF") {
    return "GET_LOCK holds on one member of a multi-primary replication group only";
  }
  if (/vitess|planetscale/i.test(`${version} ${comment}`)) return "Vitess serves GET_LOCK from one shard only";
  if (/tidb/i.test(`${version} ${comment}`) || variables.has("tidb_config")) {
    return "TiDB's GET_LOCK is not that of MySQL";
  }
  return undefined;
}

/** The setting that makes the server read-only; `undefined` when it takes writes. */
export function readOnlyBy({ variables }: Server): string | undefined {
  return ["super_read_only", "read_only", "innodb_read_only"].find((name) => isOn(variables, name));
}

/** MariaDB's `read_only` has further values from 12.0 on: all but OFF refuse writes. */
function isOn(variables: Server["variables"], name: string): boolean {
  return !["OFF", "0", ""].includes(variables.get(name)?.toUpperCase() ?? "OFF");
}

/**
 * SQL that is 1 where the server takes no writes, 0 where it does. `super_read_only` implies it, and only MySQL has that.
 * Compared as text: it is a number on MySQL and a word on the newest MariaDB.
 */
export const READ_ONLY = "(CONCAT(@@GLOBAL.read_only) NOT IN ('0', 'OFF'))";

/** Why session locks do not hold on this server; `undefined` when they do. */
export function whyNoSessions(server: Server): string | undefined {
  const cluster = clusterOf(server);
  if (cluster) return cluster;
  const setting = readOnlyBy(server);
  if (!setting) return undefined;
  return `the server is read-only (${setting}), as a replica is: GET_LOCK there says nothing about the primary`;
}

/**
 * Refuses `hybrid` where a replica would run its statements again: GET_LOCK is of one server, so that the rows would
 * become others there.
 *
 * @throws {UnsupportedError} When the binary log keeps statements.
 */
export function requireRowsInLog(server: Server, mode: Mode): void {
  if (mode !== "hybrid" || !server.logsStatements || whyNoSessions(server)) return; // that has a refusal of its own
  throw new UnsupportedError(
    'Cannot use "hybrid" mode on this server: binlog_format is STATEMENT, and replicas would get other rows; ' +
      'want binlog_format ROW or MIXED, or "lease"',
  );
}

/**
 * Refuses what this server cannot promise.
 *
 * @throws {UnsupportedError} When session locks do not hold, or statements mean something else.
 * @throws {BackendError} When no database is chosen.
 */
export function requireServer(server: Server, mode: Mode, table: string): void {
  const reason = mode === "lease" ? undefined : whyNoSessions(server);
  if (reason) throw new UnsupportedError(`Cannot use "${mode}" mode on this server: ${reason}; want "lease"`);
  requireRowsInLog(server, mode);
  if (server.variables.get("sql_mode")?.includes("SIMULTANEOUS_ASSIGNMENT")) {
    throw new UnsupportedError("Cannot use this server with sql_mode SIMULTANEOUS_ASSIGNMENT: want it left out");
  }
  // The texts of statements would not be the bytes of their letters: UCS-2, UTF-16 and UTF-32 have several for each.
  const charset = server.variables.get("character_set_connection") ?? "";
  if (/^(?:ucs2|utf16|utf32|swe7)/.test(charset)) {
    throw new UnsupportedError(`Cannot use connections with character_set_connection ${charset}: want utf8mb4`);
  }
  if (server.database === "" && !table.includes(".")) {
    throw new BackendError(`Cannot use table ${JSON.stringify(table)}: no database is chosen; want one in the URL`);
  }
}
