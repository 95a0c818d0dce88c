import { isInstance, isSql } from "../connection/driver.ts";
import { translate } from "../errors.ts";
import { listOf } from "../connection/row_shapes.ts";
import type { Row } from "./rows.ts";

/** A client with `query(text, parameters)`, as of node-postgres and PGlite. */
interface Querying {
  query(text: string, parameters: (string | null)[]): Promise<{ rows: Row[] } | Row[]>;
}

/** Sends one statement on the caller's own transaction. */
export async function guardOn(
  client: unknown,
  what: string,
  statement: string,
  parameters: (string | null)[],
): Promise<readonly Row[]> {
  const send = senderOf(client, what);
  try {
    const answer = await send(statement, parameters);
    return listOf(answer) as readonly Row[];
  } catch (error) {
    throw translate(what, error);
  }
}

function senderOf(
  client: unknown,
  what: string,
): (text: string, parameters: (string | null)[]) => PromiseLike<unknown> {
  if (isSql(client)) {
    if (isInstance(client)) {
      throw new TypeError(`Cannot ${what}: no transaction is open on this "sql"; want the one that begin() hands over`);
    }
    return (text, parameters) => client.unsafe(text, parameters, { simple: false });
  }
  if (typeof client === "function") return client as Querying["query"];
  if (typeof (client as Querying | undefined)?.query === "function") {
    return (text, parameters) => (client as Querying).query(text, parameters);
  }
  throw new TypeError(
    `Cannot ${what}: want the transaction of postgres.js, a client with query(text, parameters), or such a function`,
  );
}
