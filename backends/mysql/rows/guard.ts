/**
 * Guards the caller's transaction: the lock's row stays locked until it ends.
 *
 * @module
 */
import type { OwnedLock } from "../../../core/backend.ts";
import { hasMethods, refuseBuilder, refuseClosed } from "../../../core/options/refused_client.ts";
import { type Entry, isLive } from "../../shared/line.ts";
import { hasOpenTransaction } from "../connection/caller_transaction.ts";
import { connectionBehind, type MysqlFunction, send } from "../connection/driver.ts";
import { answerOf, withoutValue } from "../connection/row_shapes.ts";
import type { Server } from "../connection/server.ts";
import { driverErrorIn, translate } from "../errors.ts";
import type { Statements } from "./statements.ts";

const WANTED = "want the mysql2 connection of the open transaction, or a function (text, parameters) => Promise<rows>";

/**
 * Whether an acquisition is live; then its row is locked until the caller's transaction ends.
 *
 * @param sql The statements for the table, with its database.
 * @throws {TypeError} When `client` is no connection with an open transaction.
 */
export async function guard(server: Server, claim: OwnedLock, client: unknown, sql: Statements): Promise<boolean> {
  const what = `guard lock ${JSON.stringify(claim.name)}`;
  const refusal = refuseBuilder(what, client);
  if (refusal) throw refusal;
  try {
    const execute = senderOf(client);
    if (execute) {
      const isLive = await isHeld(claim, sql, async (text) => answerOf(what, await execute(text), false).rows[0]);
      if (!await hasOpenTransaction(server, execute)) throw refuseClosed(what, "what was passed");
      return isLive;
    }
    const connection = connectionBehind(client);
    if (!connection) throw new TypeError(`Cannot ${what}: ${WANTED}`);
    const isLive = await isHeld(claim, sql, async (text) => (await send(connection, text)).rows[0]);
    const { inTransaction } = await send(connection, "DO 0"); // an answer with rows has no status
    if (!inTransaction) throw refuseClosed(what, "the connection");
    return isLive;
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

/** Reads one row. */
type Read = (sql: string) => Promise<readonly (string | null)[] | undefined>;

/** Whether an acquisition is live, in the columns of its row or in the line. */
async function isHeld({ name, owner }: OwnedLock, sql: Statements, read: Read): Promise<boolean> {
  const [first, line, now] = await read(sql.guard({ name, owner })) ?? [];
  if (first === owner) return true;
  if (now === null) throw withoutValue(`guard lock ${JSON.stringify(name)}`);
  const others: Entry[] = JSON.parse(line ?? "[]");
  const entry = others.find((entry) => entry.owner === owner && entry.token !== undefined);
  if (entry === undefined || !isLive(entry, Number(now))) return false;
  const [isDead] = sql.isHybrid && entry.liveness ? await read(sql.selectDead([entry.liveness])) ?? [] : [];
  return isDead !== "1";
}

/** Whether a value is a connection of the package `mariadb`, whose promise API takes no callback. */
function isMariadb(client: unknown): client is { query(options: { sql: string }): PromiseLike<unknown> } {
  return hasMethods(client, ["query", "isValid"]);
}
