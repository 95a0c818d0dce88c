import type { LockActivity, ServerConnection } from "../../../core/backend.ts";
import type { Client } from "../connection/client.ts";
import { translate } from "../errors.ts";
import { listeningKey, sessionKeyOf } from "../keys.ts";
import { namespaceOf, quoted } from "../schema.ts";
import { waitingForKey } from "../wakeup/registration.ts";
import type { Row } from "./rows.ts";

/** SQL for the keys of a session lock: whether it is the holder's or a waiter's, the mode of its lock, and the key. */
function sessionRoles(namespace: string): string {
  const key = sessionKeyOf(namespace, "request.name");
  return `VALUES (true, '%', ${key}), (false, 'ShareLock', ${waitingForKey(key)})`;
}

/** The same of a row: the liveness locks of hybrid holders, and the listeners of waiters. */
function rowRoles(table: string): string {
  const row = `FROM ${quoted(table)} AS l`;
  const line = `${row}, unnest(l.line) AS e (v) WHERE l.name = request.name AND v->>'token' IS`;
  return `SELECT true, 'ExclusiveLock', l.liveness ${row} WHERE l.name = request.name AND l.owner IS NOT NULL
      UNION ALL SELECT true, 'ExclusiveLock', (v->>'liveness')::bigint ${line} NOT NULL
      UNION ALL SELECT false, 'ExclusiveLock', ${listeningKey("v->>'listener'")} ${line} NULL`;
}

/**
 * Writes the query for the connections that hold names and wait for them. The holder of a hybrid lock has the liveness
 * lock of its row exclusively, while a statement that checks it shares it for an instant, and so do waiters with the key
 * of the channel on which they listen. They share the waiting key of a session lock, which a releaser has exclusively for
 * an instant. The address and the program of other roles are hidden from a role that is not in `pg_read_all_stats`.
 * `(JSON array of names)`
 */
function query(table: string, kind: "row" | "session"): string {
  return `
    SELECT DISTINCT request.name, (role.holding AND l.granted)::text AS holds, l.pid::text AS session,
      CASE a.client_port WHEN -1 THEN 'local' ELSE host(a.client_addr) END AS client,
      nullif(a.application_name, '') AS program
    FROM json_array_elements_text($1::text::json) AS request (name)
    CROSS JOIN LATERAL (${kind === "session" ? sessionRoles(namespaceOf(table)) : rowRoles(table)})
      AS role (holding, mode, key)
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
