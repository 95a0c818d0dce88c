import { refuseBuilder, refuseClosed } from "../../../core/options/refused_client.ts";
import { isSql } from "../connection/driver.ts";
import { rowsOf } from "../connection/row_shapes.ts";
import { translate } from "../errors.ts";

type Send = (text: string, parameters: (string | null)[]) => PromiseLike<unknown>;

/** The transaction of the connection, if it has locked a row. */
const TRANSACTION = "SELECT pg_catalog.txid_current_if_assigned()::text AS transaction";

/**
 * Whether an acquisition is live; then its row is locked until the caller's transaction ends. A second statement finds
 * the transaction of the first one only if it is still open: not on a pool, nor without BEGIN. Nothing is returned when
 * the transaction reads a snapshot without it, which may be older.
 *
 * @param statement Locks the row and returns the transaction that did, its isolation level and what it found.
 * @throws {TypeError} When `client` is no connection with an open transaction.
 */
export async function guardOn(
  client: unknown,
  what: string,
  statement: string,
  parameters: (string | null)[],
): Promise<boolean | undefined> {
  const send = senderOf(client, what);
  try {
    const [locked] = rowsOf(await send(statement, parameters));
    if (locked === undefined) throw new TypeError(`Cannot ${what}: the answer has no rows; want an array of objects`);
    if (locked.live !== "true") return locked.isolation?.startsWith("read ") ? false : undefined;
    const [open] = rowsOf(await send(TRANSACTION, []));
    if (open?.transaction !== locked.transaction) throw refuseClosed(what, "what was passed");
    return true;
  } catch (error) {
    throw translate(what, error);
  }
}

function senderOf(client: unknown, what: string): Send {
  const refusal = refuseBuilder(what, client);
  if (refusal) throw refusal;
  if (isSql(client)) return (text, parameters) => client.unsafe(text, parameters, { simple: false });
  if (typeof client === "function") return client as Send;
  const querying = client as { query?: unknown } | null | undefined;
  if (typeof querying?.query === "function") return querying.query.bind(querying) as Send;
  throw new TypeError(
    `Cannot ${what}: want the transaction of postgres.js, a client with query(text, parameters), or such a function`,
  );
}
