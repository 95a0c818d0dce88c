/**
 * The kind of a server, and what it does not support.
 *
 * @module
 */
import type { Mode } from "../../../core/backend.ts";
import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import type { Answer } from "./row_shapes.ts";
import { fromHexadecimal } from "./inline_parameters.ts";

/** What is known of a server. */
export interface Server {
  readonly kind: "mysql" | "mariadb";
  readonly version: string;
  /** The database that the connection uses. */
  readonly database: string;
  /** Whether a replica runs the statements again (`binlog_format = STATEMENT`). */
  readonly logsStatements: boolean;
  /** Whether writes are possible at READ COMMITTED: not with `binlog_format = STATEMENT`. */
  readonly readCommitted: boolean;
  /** The default isolation level. */
  readonly isolation: string;
  /** The variables that were read, by their names in lower case. */
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
  "rpl_semi_sync_source_enabled",
  "rpl_semi_sync_master_enabled",
  "max_allowed_packet",
];

/** Describes a server by two statements; a variable that it does not have is missing in the answer. */
export async function describe(ask: (sql: string) => Promise<Answer>): Promise<Server> {
  const variables = await ask(
    `SHOW VARIABLES WHERE Variable_name IN (${VARIABLES.map((name) => `'${name}'`).join(", ")})`,
  );
  // as bytes: the connection's character set may not have the letters of the name
  const database = await ask("SELECT HEX(CONVERT(DATABASE() USING utf8mb4))");
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

/** Why session locks hold on a part of this cluster only; `undefined` when it is none. */
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

/** Whether commits wait for another server, at least when the connection was opened. */
export function confirmsCommits({ variables }: Server): boolean {
  const settings = ["rpl_semi_sync_source_enabled", "rpl_semi_sync_master_enabled", "group_replication_group_name"];
  return settings.some((name) => isOn(variables, name));
}

/** The setting that makes the server read-only; `undefined` when it accepts writes. */
export function readOnlyBy({ variables }: Server): string | undefined {
  return ["super_read_only", "read_only", "innodb_read_only"].find((name) => isOn(variables, name));
}

/** From MariaDB 12.0 on `read_only` has further values, which all refuse writes. */
function isOn(variables: Server["variables"], name: string): boolean {
  return !["OFF", "0", ""].includes(variables.get(name)?.toUpperCase() ?? "OFF");
}

/**
 * The SQL condition that the server is read-only; MySQL's `super_read_only` implies it. Compared as text: it is a number
 * on MySQL and a word on the newest MariaDB.
 */
export const READ_ONLY = "(CONCAT(@@GLOBAL.read_only) NOT IN ('0', 'OFF'))";

/** Why session locks do not exclude other clients on this server; `undefined` when they do. */
export function whyNoSessions(server: Server): string | undefined {
  const cluster = clusterOf(server);
  if (cluster) return cluster;
  const setting = readOnlyBy(server);
  if (!setting) return undefined;
  return `the server is read-only (${setting}), as a replica is: GET_LOCK there says nothing about the primary`;
}

/**
 * Refuses `hybrid` where a replica runs the statements again: GET_LOCK is local to a server, so its rows would differ.
 *
 * @throws {UnsupportedError} With `binlog_format = STATEMENT`.
 */
export function requireRowsInLog(server: Server, mode: Mode): void {
  if (mode !== "hybrid" || !server.logsStatements || whyNoSessions(server)) return; // requireServer refuses that
  throw new UnsupportedError(
    'Cannot use "hybrid" mode on this server: binlog_format is STATEMENT, and replicas would get other rows; ' +
      'want binlog_format ROW or MIXED, or "lease"',
  );
}

/** Character sets in which ASCII texts have other bytes. */
export const NOT_ASCII = /^(?:ucs2|utf16|utf32|swe7)/;

/**
 * Refuses a server on which locks of this mode do not hold.
 *
 * @throws {UnsupportedError} Also when its settings change what statements mean.
 * @throws {BackendError} When no database is selected.
 */
export function requireServer(server: Server, mode: Mode, table: string): void {
  const reason = mode === "lease" ? undefined : whyNoSessions(server);
  if (reason) throw new UnsupportedError(`Cannot use "${mode}" mode on this server: ${reason}; want "lease"`);
  requireRowsInLog(server, mode);
  const charset = server.variables.get("character_set_connection") ?? "";
  if (NOT_ASCII.test(charset)) {
    throw new UnsupportedError(`Cannot use connections with character_set_connection ${charset}: want utf8mb4`);
  }
  if (server.database === "" && !table.includes(".")) {
    throw new BackendError(`Cannot use table ${JSON.stringify(table)}: no database is chosen; want one in the URL`);
  }
}
