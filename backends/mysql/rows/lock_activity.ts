/**
 * The holders that the server knows: the connection of a GET_LOCK, and the address of its client. It does not know the
 * waiters, which poll. Without the PROCESS privilege it shows only the user's own connections.
 *
 * @module
 */
import type { LockActivity } from "../../../core/backend.ts";
import { UNRELEASED } from "./rows.ts";
import { bytes, EVERY_ROW, list, quoted } from "../connection/inline_parameters.ts";

/** Joins the connections to `held (name, id)`. The process list exists with and without the performance schema. */
function connectionsOf(held: string): string {
  return `SELECT held.name, held.id, process.host
    FROM (${held}) AS held LEFT JOIN information_schema.processlist AS process ON process.id = held.id
    WHERE held.id IS NOT NULL ${EVERY_ROW}`;
}

/** Selects the holders of rows of `hybrid` mode. */
export function holdersOfRows(table: string, names: readonly string[]): string {
  return connectionsOf(`
    SELECT name, CASE WHEN session IS NULL THEN NULL ELSE IS_USED_LOCK(session) END AS id
    FROM ${quoted(table)} WHERE ${UNRELEASED} AND name IN (${list(names)})`);
}

/** Selects the holders of session locks, each given with its key. */
export function holdersOfSessionLocks(names: readonly (readonly [name: string, digest: string])[]): string {
  const held = names.map(([name, digest]) => `SELECT ${bytes(name)} AS name, IS_USED_LOCK('${digest}') AS id`);
  return connectionsOf(held.join(" UNION ALL "));
}

/** Converts the answer to one of these statements. */
export function observations(
  names: readonly string[],
  rows: readonly (readonly (string | null)[])[],
): LockActivity[] {
  return names.map((name) => {
    const holders = rows.filter(([held]) => held === name).map(([, id, host]) => {
      const client = host === "localhost" ? "local" : host?.replace(/:\d+$/, ""); // without the port
      return { session: id!, ...(client === undefined ? {} : { client }) };
    });
    return { name, holders };
  });
}
