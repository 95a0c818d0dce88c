import type { LockRow, RenewRequest } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { isRowLocked } from "../errors.ts";
import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import type { Statements } from "./statements.ts";
import { inOrderOf, refArrays, renewArrays, renewParameters } from "./rows.ts";

/**
 * Extends each lock that is live: the first holders of their names, and then the others. One alone is tried again for
 * some seconds while its row is locked; in a batch it would keep the others from their answers.
 */
export async function renew(
  table: LockTable,
  queue: Queue,
  requests: readonly RenewRequest[],
): Promise<(LockRow | undefined)[]> {
  const first = await renewFirst(table, requests);
  return await Promise.all(requests.map(async (request, index) => {
    const row = first[index];
    if (row && !(request.owner === null && row.waiters !== undefined)) return row;
    const extend = () => queue.renew(request, table);
    const other = await (requests.length === 1 ? table.whenUnlocked(extend) : extend());
    // it may have come to be the first meanwhile
    return row ?? other ?? (await renewFirst(table, [request]))[0];
  }));
}

/**
 * Extends each lock that is live and the first of its name. Of several, one whose row is locked is answered as it is,
 * not extended, with its present expiry.
 */
async function renewFirst(
  table: LockTable,
  requests: readonly RenewRequest[],
): Promise<(LockRow | undefined)[]> {
  const send = (statement: keyof Statements, parameters: (string | null)[]) =>
    table.send(() => `renew ${namesOf(requests)}`, statement, parameters);
  if (requests.length === 1) {
    return inOrderOf(requests, await table.whenUnlocked(() => send("renew", renewParameters(requests[0]))));
  }
  try {
    return inOrderOf(requests, await send("renewEach", renewArrays(requests)));
  } catch (error) {
    if (!isRowLocked(error)) throw error;
  }
  const renewed = inOrderOf(requests, await send("renewUnlocked", renewArrays(requests)));
  const left = requests.filter((_request, index) => renewed[index] === undefined);
  const locked = inOrderOf(requests, left.length > 0 ? await send("listOwned", refArrays(left)) : []);
  return renewed.map((row, index) => row ?? locked[index]);
}
