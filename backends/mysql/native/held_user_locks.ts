import { BackendError, UnsupportedError } from "../../../core/errors.ts";
import type { Connector } from "../connection/connector.ts";
import { isDenied, isMissingView } from "../errors.ts";

/** Where each server shows who holds which user lock. */
const SHOWN = {
  mysql: `SELECT CAST(object_name AS BINARY), processlist_id
    FROM performance_schema.metadata_locks JOIN performance_schema.threads ON owner_thread_id = thread_id
    WHERE object_type = 'USER LEVEL LOCK' AND lock_status = 'GRANTED'`,
  mariadb: `SELECT CAST(table_schema AS BINARY), thread_id
    FROM information_schema.metadata_lock_info WHERE lock_type = 'User lock'`,
};

/** What it takes to see them. */
const WANTED = {
  mysql: "want SELECT on performance_schema.metadata_locks and performance_schema.threads",
  mariadb: "want the plugin metadata_lock_info (INSTALL SONAME 'metadata_lock_info')",
};

/** The user locks of a database that are held and whose names begin so, with the connections that hold them. */
export async function heldUserLocks(prefix: string, connector: Connector): Promise<Map<string, number>> {
  if (typeof prefix !== "string") throw new TypeError(`Cannot use prefix of type ${typeof prefix}: want a string`);
  const what = "list user locks";
  await connector.ask(what, "DO 0"); // knows the server, and with it the database
  const { kind } = connector.known!;
  const folded = (name: string) => kind === "mysql" ? name.toLowerCase() : name;
  const { rows } = await connector.ask(what, SHOWN[kind]).catch((error) => {
    if (error instanceof BackendError && (isMissingView(error.cause) || isDenied(error.cause))) {
      throw new UnsupportedError(`Cannot ${what}: the server does not show them; ${WANTED[kind]}`, { cause: error });
    }
    throw error;
  });
  const database = folded(`${connector.database}.`);
  const begin = database + folded(prefix);
  const shown = rows.map(([name, id]) => [folded(name!), Number(id)] as const);
  const held = shown.filter(([name]) => name.startsWith(begin));
  return new Map(held.map(([name, id]) => [name.slice(database.length), id]));
}
