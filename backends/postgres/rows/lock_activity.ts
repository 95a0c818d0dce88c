import type { LockActivity, ServerConnection } from "../../../core/backend.ts";
import type { Client } from "../connection/client.ts";
import { translate } from "../errors.ts";
import { waitingForKey, waitingForRow } from "../keys.ts";
import { namespaceOf, quoted } from "../schema.ts";
import { sessionKeyOf } from "../session/session_keys.ts";
import type { Row } from "./rows.ts";

/**
 * Writes the query for the connections that hold names and wait for them. The holder of a hybrid lock has the liveness
 * lock of its row exclusively, while a statement that checks it shares it for an instant. Waiters share the waiting key,
 * which a releaser has exclusively for an instant. The address and the program of other roles are hidden from a role
 * that is not in `pg_read_all_stats`. `(JSON array of names)`
 */
function query(table: string, kind: "row" | "session"): string {
  const namespace = namespaceOf(table);
  const sessionKey = sessionKeyOf(namespace, "request.name");
  const [mode, holding, waiting] = kind === "session" ? ["%", sessionKey, waitingForKey(sessionKey)] : [
    "ExclusiveLock",
    `(SELECT l.liveness FROM ${quoted(table)} AS l WHERE l.name = request.name AND l.owner IS NOT NULL)`,
    waitingForRow(namespace, "request.name"),
  ];
  return `
    SELECT DISTINCT request.name, (role.holding AND l.granted)::text AS holds, l.pid::text AS session,
      CASE a.client_port WHEN -1 THEN 'local' ELSE host(a.client_addr) END AS client,
      nullif(a.application_name, '') AS program
    FROM json_array_elements_text($1::text::json) AS request (name)
    CROSS JOIN LATERAL (VALUES
      (true, '${mode}', ${holding}),
      (false, 'ShareLock', ${waiting})) AS role (holding, mode, key)
    JOIN pg_locks AS l ON l.locktype = 'advisory' AND l.objsubid = 1 AND l.mode LIKE role.mode
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = (role.key >> 32) & 4294967295 AND l.objid::bigint = role.key & 4294967295
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    ORDER BY session`;
}

function connectionOf({ session, client, program }: Row): ServerConnection {
  return { session: session!, ...(client === null ? {} : { client }), ...(program === null ? {} : { program }) };
}

/** Returns the connections that hold names and wait for them, in the order of the names. */
export async function lockActivity(
  client: Client,
  table: string,
  kind: "row" | "session",
  names: readonly string[],
): Promise<LockActivity[]> {
  let rows: readonly Row[];
  try {
    rows = await client.send(query(table, kind), [JSON.stringify(names)]);
  } catch (error) {
    throw translate("list the holders and waiters", error);
  }
  return names.map((name) => {
    const of = (holds: string) => rows.filter((row) => row.name === name && row.holds === holds).map(connectionOf);
    return { name, holders: of("true"), waiters: of("false") };
  });
}
