/**
 * Guards the caller's transaction: the lock's row stays locked until it ends.
 *
 * @module
 */
import type { OwnedLock } from "../../../core/backend.ts";
import { refuseBuilder, refuseClosed } from "../../../core/options/refused_client.ts";
import { connectionBehind, send } from "../connection/driver.ts";
import { translate } from "../errors.ts";

/** Sends one statement as text and returns its rows. */
type Send = (text: string, parameters: never[]) => PromiseLike<unknown>;

const WANTED = "want the mysql2 connection of the open transaction, or a function (text, parameters) => Promise<rows>";

/**
 * Whether an acquisition is live; then its row is locked until the caller's transaction ends.
 *
 * @param statement Reads the row and locks it.
 * @throws {TypeError} When `client` is no connection with an open transaction.
 */
export async function guard({ name }: OwnedLock, client: unknown, statement: string): Promise<boolean> {
  const what = `guard lock ${JSON.stringify(name)}`;
  const refusal = refuseBuilder(what, client);
  if (refusal) throw refusal;
  try {
    if (typeof client === "function") return await guardThrough(client as Send, what, statement);
    if (isMariadb(client)) return await guardThrough((sql) => client.query({ sql }), what, statement);
    const connection = connectionBehind(client);
    if (!connection) throw new TypeError(`Cannot ${what}: ${WANTED}`);
    const { rows } = await send(connection, statement);
    const { inTransaction } = await send(connection, "DO 0"); // an answer with rows has no status
    if (!inTransaction) throw refuseClosed(what, "the connection");
    return rows.length > 0;
  } catch (error) {
    throw translate(what, error);
  }
}

/** Whether a value is a connection of the package `mariadb`, whose promise API takes no callback. */
function isMariadb(client: unknown): client is { query(options: { sql: string }): PromiseLike<unknown> } {
  const { query, isValid } = (client ?? {}) as { query?: unknown; isValid?: unknown };
  return typeof query === "function" && typeof isValid === "function";
}

/** A savepoint ends with its transaction: without one it ends with its own statement. */
async function guardThrough(send: Send, what: string, statement: string): Promise<boolean> {
  await send("SAVEPOINT lockmgr_guard", []);
  const rows = rowsOf(what, await send(statement, []));
  try {
    await send("RELEASE SAVEPOINT lockmgr_guard", []);
  } catch (error) {
    throw isMissingSavepoint(error) ? refuseClosed(what, "what the function sends to") : error;
  }
  return rows.length > 0;
}

/** Whether a driver's error, or the one that an ORM wrapped, says that there is no such savepoint (1305). */
function isMissingSavepoint(error: unknown): boolean {
  const { errno, cause, original } = (error ?? {}) as { errno?: unknown; cause?: unknown; original?: unknown };
  if (errno === 1305) return true;
  return [cause, original].some((inner) => inner !== undefined && inner !== null && isMissingSavepoint(inner));
}

/** Returns the rows of an answer: an array, rows and fields as of mysql2, or an object with `rows`. */
function rowsOf(what: string, answer: unknown): readonly object[] {
  const list = (answer as { rows?: unknown } | undefined)?.rows ?? answer;
  const rows = Array.isArray(list) && Array.isArray(list[0]) ? list[0] : list;
  if (Array.isArray(rows) && rows.every((row) => typeof row === "object" && row !== null)) return rows;
  throw new TypeError(`Cannot ${what}: the function answered no rows; want a promise of an array of objects`);
}
