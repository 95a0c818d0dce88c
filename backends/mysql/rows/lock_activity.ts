/**
 * Who holds, as the server knows it: the connection that has a GET_LOCK, and where its client is. Of those who wait it
 * knows nothing, since they ask now and then. Without the PROCESS privilege it tells of the user's own connections.
 *
 * @module
 */
import type { LockActivity } from "../../../core/backend.ts";
import { UNRELEASED } from "./rows.ts";
import { bytes, EVERY_ROW, list, quoted } from "../connection/sql.ts";

/** Joins the connections to `held (name, id)`. The list of processes is there with or without the performance schema. */
function connectionsOf(held: string): string {
  return `SELECT held.name, held.id, process.host
    FROM (${held}) AS held LEFT JOIN information_schema.processlist AS process ON process.id = held.id
    WHERE held.id IS NOT NULL ${EVERY_ROW}`;
}

/** The question for names whose rows a GET_LOCK may vouch for. */
export function holdersOfRows(table: string, names: readonly string[]): string {
  return connectionsOf(`
    SELECT name, CASE WHEN session IS NULL THEN NULL ELSE IS_USED_LOCK(session) END AS id
    FROM ${quoted(table)} WHERE ${UNRELEASED} AND name IN (${list(names)})`);
}

/** The question for names that are session locks: each with its name on the server. */
export function holdersOfSessionLocks(names: readonly (readonly [name: string, digest: string])[]): string {
  const held = names.map(([name, digest]) => `SELECT ${bytes(name)} AS name, IS_USED_LOCK('${digest}') AS id`);
  return connectionsOf(held.join(" UNION ALL "));
}

/** What the answer to such a question says of the names. */
export function observations(
  names: readonly string[],
  rows: readonly (readonly (string | null)[])[],
): LockActivity[] {
  return names.map((name) => {
    const holders = rows.filter(([held]) => held === name).map(([, id, host]) => {
      return { session: id!, ...(host === null ? {} : { client: host === "localhost" ? "local" : addressOf(host) }) };
    });
    return { name, holders };
  });
}

/** The address without the client's port. */
function addressOf(host: string): string {
  return host.replace(/:\d+$/, "");
}
