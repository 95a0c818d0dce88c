import type { Diagnostic, Mode } from "../../core/backend.ts";
import type { Client } from "./connection/client.ts";
import { processIdOf } from "./connection/driver.ts";
import { translate } from "./errors.ts";
import type { Row } from "./rows/rows.ts";
import { SESSIONS_END } from "../sessions/session_engine.ts";
import { tableDiagnostic } from "../shared/found_table.ts";
import { findTable, INSPECTION, quoted, sequenceOf } from "./schema.ts";

/** The privileges of the role, and the setting that decides whether a grant survives a crash. `(table, sequence)` */
const RIGHTS = `
  SELECT current_user AS role, current_setting('synchronous_commit') AS durability,
    has_table_privilege(to_regclass($1::text), 'SELECT')::text AS reads,
    (has_table_privilege(to_regclass($1::text), 'INSERT') AND has_table_privilege(to_regclass($1::text), 'UPDATE')
      AND has_table_privilege(to_regclass($1::text), 'DELETE'))::text AS writes,
    (has_sequence_privilege(to_regclass($2::text), 'USAGE')
      AND has_sequence_privilege(to_regclass($2::text), 'UPDATE'))::text AS draws`;

/** The standbys that follow the server, and which of them commits wait for. */
const STANDBYS = `
  SELECT count(*)::text AS standbys, current_setting('synchronous_standby_names') AS synchronous
  FROM pg_stat_replication`;

/** Checks the server, its settings and this role. */
export async function diagnose(client: Client, table: string, mode: Mode): Promise<Diagnostic[]> {
  const names = [quoted(table), quoted(sequenceOf(table))];
  try {
    const seen = await client.send(INSPECTION, names);
    const [rights] = await client.send(RIGHTS, names);
    const [standbys] = await client.send(STANDBYS);
    const pid = processIdOf(seen);
    const direct = pid === undefined ? undefined : pid === seen[0].pid;
    return [
      server(seen[0]),
      replica(seen[0]),
      proxy(direct),
      tableDiagnostic(table, () => findTable(table, seen[0].columns)),
      mayUse(table, rights),
      durable(rights),
      failover(standbys, mode),
    ];
  } catch (error) {
    throw translate("diagnose the server", error);
  }
}

function server({ version }: Row): Diagnostic {
  const detail = version!.split(" on ")[0];
  if (!/cockroach/i.test(detail)) return { what: "version", state: "ok", detail };
  const advice = 'Use "lease": its session-level advisory locks do nothing';
  return { what: "version", state: "warning", detail, advice };
}

function replica(row: Row): Diagnostic {
  if (row.replica !== "true") return { what: "replica", state: "ok", detail: "this is the primary" };
  return { what: "replica", state: "problem", detail: "this is a read-only replica", advice: "Connect to the primary" };
}

function proxy(direct: boolean | undefined): Diagnostic {
  const what = "pooler";
  if (direct) {
    return { what, state: "ok", detail: "no proxy is in between: statements are prepared, waiters are notified" };
  }
  const detail = direct === false ? "a proxy is in between" : "whether a proxy is in between is unknown";
  const advice = 'Waiters poll instead of being notified; for "session" and "hybrid" connect to the server itself';
  return { what, state: "note", detail, advice };
}

function mayUse(table: string, { role, reads, writes, draws }: Row): Diagnostic {
  const what = "privileges";
  if (reads === null) return { what, state: "note", detail: "there is no table to have privileges on" };
  if (reads !== "true" || writes !== "true") {
    const advice = `GRANT SELECT, INSERT, UPDATE, DELETE ON ${quoted(table)} TO "${role}"`;
    return { what, state: "problem", detail: `"${role}" may not read and write "${table}"`, advice };
  }
  if (draws === "true") return { what, state: "ok", detail: `"${role}" may use "${table}"` };
  const advice = `For "session": GRANT USAGE, UPDATE ON SEQUENCE ${quoted(sequenceOf(table))} TO "${role}"`;
  return { what, state: "note", detail: `"${role}" may use "${table}" and not its sequence`, advice };
}

function durable({ durability }: Row): Diagnostic {
  const what = "durability";
  const detail = `synchronous_commit is "${durability}"`;
  if (durability !== "local") return { what, state: "ok", detail };
  const advice = "A failover may lose the last grants: tokens still increase, but the holders do not know";
  return { what, state: "note", detail, advice };
}

function failover({ standbys, synchronous }: Row, mode: Mode): Diagnostic {
  const what = "failover";
  if (standbys === "0") return { what, state: "ok", detail: "no standby is attached" };
  const detail = `standbys attached: ${standbys}, synchronous_standby_names is "${synchronous}"`;
  if (mode === "session") return { what, state: "warning", detail, advice: SESSIONS_END };
  if (synchronous !== "") return { what, state: "ok", detail };
  const advice = "Set synchronous_standby_names: without it a failover may lose the last grants";
  return { what, state: "warning", detail, advice };
}
