/**
 * Finds out whether the caller's transaction is open where a caller's function sends to. This needs no privilege, and
 * works in the text protocol as well as with prepared statements.
 *
 * @module
 */
import { isInTransaction } from "../errors.ts";
import { answerOf, withoutValue } from "./row_shapes.ts";
import type { Server } from "./server.ts";

/** Sends one statement through the caller's function. */
type Execute = (sql: string) => PromiseLike<unknown>;

/** MariaDB has a variable for it. */
const IN_TRANSACTION = "SELECT @@in_transaction";
/** MySQL has none, but refuses to set the isolation level of an open transaction. Otherwise this changes nothing. */
const SAME_ISOLATION = "SET @@transaction_isolation = @@SESSION.transaction_isolation";

/** Whether a transaction is open. */
export async function hasOpenTransaction({ kind }: Pick<Server, "kind">, execute: Execute): Promise<boolean> {
  if (kind === "mariadb") {
    const what = "look for an open transaction";
    const { rows: [[open] = []] } = answerOf(what, await execute(IN_TRANSACTION), false);
    if (open !== "0" && open !== "1") {
      throw withoutValue(what);
    }
    return open === "1";
  }
  try {
    await execute(SAME_ISOLATION);
    return false;
  } catch (error) {
    if (isInTransaction(error)) return true;
    throw error;
  }
}
