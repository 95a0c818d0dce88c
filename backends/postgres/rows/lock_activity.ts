/**
 * Who holds and who waits, as the server knows it: advisory locks and the connections that have them.
 *
 * @module
 */
import type { LockActivity, ServerConnection } from "../../../core/backend.ts";
import type { Client } from "../connection/client.ts";
import { translate } from "../errors.ts";
import { waitingForKey, waitingForRow } from "../keys.ts";
import type { Row } from "./rows.ts";
import { namespaceOf, quoted } from "../schema.ts";
import { sessionKeyOf } from "../session/session_keys.ts";

/** How a lock of the table's name is kept: as a row, which names the key that vouches for it, or as a session lock. */
export type Kept = "row" | "session";

/**
 * Writes the question. The key that vouches for a row is kept exclusively by its holder, while those who ask whether it
 * is free have it shared for an instant; that of waiting is shared by those who wait, and the releaser has it for an
 * instant. Of a session lock's key both modes count, and who is not let in waits. The address and the program of other
 * roles are hidden from one that is not in `pg_read_all_stats`. `(JSON array of names)`
 */
function question(table: string, kept: Kept): string {
  const namespace = namespaceOf(table);
  const sessionKey = sessionKeyOf(namespace, "wish.name");
  const [mode, holding, waiting] = kept === "session" ? ["%", sessionKey, waitingForKey(sessionKey)] : [
    "ExclusiveLock",
    `(SELECT l.liveness FROM ${quoted(table)} AS l WHERE l.name = wish.name AND l.owner IS NOT NULL)`,
    waitingForRow(namespace, "wish.name"),
  ];
  return `
    SELECT DISTINCT wish.name, (place.holding AND l.granted)::text AS holds, l.pid::text AS session,
      CASE a.client_port WHEN -1 THEN 'local' ELSE host(a.client_addr) END AS client,
      nullif(a.application_name, '') AS program
    FROM json_array_elements_text($1::text::json) AS wish (name)
    CROSS JOIN LATERAL (VALUES
      (true, '${mode}', ${holding}),
      (false, 'ShareLock', ${waiting})) AS place (holding, mode, key)
    JOIN pg_locks AS l ON l.locktype = 'advisory' AND l.objsubid = 1 AND l.mode LIKE place.mode
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.classid::bigint = (place.key >> 32) & 4294967295 AND l.objid::bigint = place.key & 4294967295
    LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
    ORDER BY session`;
}

function peerOf({ session, client, program }: Row): ServerConnection {
  return { session: session!, ...(client === null ? {} : { client }), ...(program === null ? {} : { program }) };
}

/** Asks whose connections hold and wait for names. */
export async function observe(
  client: Client,
  table: string,
  kept: Kept,
  names: readonly string[],
): Promise<LockActivity[]> {
  let rows: readonly Row[];
  try {
    rows = await client.send(question(table, kept), [JSON.stringify(names)]);
  } catch (error) {
    throw translate("tell who holds and who waits", error);
  }
  return names.map((name) => {
    const about = rows.filter((row) => row.name === name);
    const [holders, waiters] = ["true", "false"].map((holds) => about.filter((row) => row.holds === holds).map(peerOf));
    return { name, holders, waiters };
  });
}
