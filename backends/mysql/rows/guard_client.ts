/**
 * Guards the caller's transaction: the lock's row stays locked until it ends.
 *
 * @module
 */
import type { OwnedLock } from "../../../core/backend.ts";
import { hasMethods, refuseBuilder, refuseClosed } from "../../../core/options/refused_client.ts";
import { hasOpenTransaction } from "../connection/caller_transaction.ts";
import { connectionBehind, type MysqlFunction, send } from "../connection/driver.ts";
import { rowsIn } from "../connection/row_shapes.ts";
import type { Server } from "../connection/server.ts";
import { driverErrorIn, translate } from "../errors.ts";

const WANTED = "want the mysql2 connection of the open transaction, or a function (text, parameters) => Promise<rows>";

/**
 * Whether an acquisition is live; then its row is locked until the caller's transaction ends.
 *
 * @param statement Reads the row and locks it.
 * @throws {TypeError} When `client` is no connection with an open transaction.
 */
export async function guard(
  server: Server,
  { name }: OwnedLock,
  client: unknown,
  statement: string,
): Promise<boolean> {
  const what = `guard lock ${JSON.stringify(name)}`;
  const refusal = refuseBuilder(what, client);
  if (refusal) throw refusal;
  try {
    const execute = senderOf(client);
    if (execute) {
      const rows = rowsIn(what, await execute(statement));
      if (!await hasOpenTransaction(server, execute)) throw refuseClosed(what, "what was passed");
      return rows.length > 0;
    }
    const connection = connectionBehind(client);
    if (!connection) throw new TypeError(`Cannot ${what}: ${WANTED}`);
    const { rows } = await send(connection, statement);
    const { inTransaction } = await send(connection, "DO 0"); // an answer with rows has no status
    if (!inTransaction) throw refuseClosed(what, "the connection");
    return rows.length > 0;
  } catch (error) {
    throw translate(what, driverErrorIn(error) ?? error);
  }
}

/** Returns what sends through a function or a client that answers with promises; `undefined` for one of mysql2. */
function senderOf(client: unknown): ((sql: string) => PromiseLike<unknown>) | undefined {
  if (isMariadb(client)) return (sql) => client.query({ sql });
  if (hasMethods(client, ["unsafe"])) return (sql) => (client as { unsafe: MysqlFunction }).unsafe(sql, []); // Bun's
  return typeof client === "function" ? (sql) => (client as MysqlFunction)(sql, []) : undefined;
}

/** Whether a value is a connection of the package `mariadb`, whose promise API takes no callback. */
function isMariadb(client: unknown): client is { query(options: { sql: string }): PromiseLike<unknown> } {
  const { query, isValid } = (client ?? {}) as { query?: unknown; isValid?: unknown };
  return typeof query === "function" && typeof isValid === "function";
}
