/**
 * Guards the caller's transaction: a write in it keeps the lock from changing hands until it ends.
 *
 * @module
 */
import type { OwnedLock } from "../../../core/backend.ts";
import { refuseBuilder, refuseClosed } from "../../../core/options/refused_client.ts";
import { inTransaction, isDatabase } from "../connection/driver.ts";
import { translate } from "../errors.ts";

/** Sends one statement and returns its rows. */
type Send = (text: string, parameters: string[]) => PromiseLike<unknown>;

/**
 * Whether an acquisition is live, answered at once on a driver's handle.
 *
 * @throws {TypeError} When `client` is no handle with an open transaction.
 */
export function guardHandle({ name, owner }: OwnedLock, client: unknown, statement: string): boolean {
  const what = `guard lock ${JSON.stringify(name)}`;
  if (!isDatabase(client)) {
    throw refuseBuilder(what, client) ??
      new TypeError(`Cannot ${what}: want the database handle of the open transaction`);
  }
  if (inTransaction(client) === false) throw refuseClosed(what, "the handle");
  try {
    return Boolean(client.prepare(statement).get(name, owner, owner));
  } catch (error) {
    throw translate(what, error);
  }
}

/**
 * The same through a function. SQLite switches `defer_foreign_keys` off when a transaction ends: if it stays on over the
 * statement, one is open.
 */
async function guardThrough({ name, owner }: OwnedLock, send: Send, statement: string): Promise<boolean> {
  const what = `guard lock ${JSON.stringify(name)}`;
  const isDeferred = async () => {
    const [row] = rowsOf(what, await send("PRAGMA defer_foreign_keys", []));
    return Number(Object.values(row ?? {})[0]) === 1;
  };
  try {
    const before = await isDeferred();
    await send("PRAGMA defer_foreign_keys = ON", []);
    const rows = rowsOf(what, await send(statement, [name, owner, owner]));
    const isOpen = await isDeferred();
    if (!before) await send("PRAGMA defer_foreign_keys = OFF", []);
    if (!isOpen) throw refuseClosed(what, "what the function sends to");
    return rows.length > 0;
  } catch (error) {
    throw translate(what, error);
  }
}

function rowsOf(what: string, answer: unknown): readonly object[] {
  const rows = (answer as { rows?: unknown } | undefined)?.rows ?? answer;
  if (Array.isArray(rows) && rows.every((row) => typeof row === "object" && row !== null)) return rows;
  throw new TypeError(`Cannot ${what}: the function answered no rows; want a promise of an array of objects`);
}

/** Whether an acquisition is live, on a driver's handle or through a function. */
export async function guard(claim: OwnedLock, client: unknown, statement: string): Promise<boolean> {
  const what = `guard lock ${JSON.stringify(claim.name)}`;
  if (typeof client === "function") {
    const refusal = refuseBuilder(what, client);
    if (refusal) throw refusal;
    return guardThrough(claim, client as Send, statement);
  }
  const isLive = guardHandle(claim, client, statement);
  await undefined; // a driver's synchronous transaction() commits before any promise is answered
  if (isLive && isDatabase(client) && inTransaction(client) === false) {
    throw new TypeError(`Cannot ${what}: the transaction ended before the answer; want guardSync(handle) in it`);
  }
  return isLive;
}
