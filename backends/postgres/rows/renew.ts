import type { LockRow, RenewRequest } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import { isRowLocked } from "../errors.ts";
import { retryWhileLocked } from "./locked_rows.ts";
import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import type { Statements } from "./statements.ts";
import { inOrderOf, refArrays, renewArrays, renewParameters } from "./rows.ts";

/** Extends each lock that is live: the first holders of their names, and then the others. */
export async function renew(
  table: LockTable,
  queue: Queue,
  requests: readonly RenewRequest[],
): Promise<(LockRow | undefined)[]> {
  const first = await renewFirst(table, requests);
  return await Promise.all(requests.map(async (request, index) => {
    const row = first[index];
    if (row && !(request.owner === null && row.waiters !== undefined)) return row;
    const other = await queue.renew(request, table);
    // it may have come to be the first meanwhile
    return row ?? other ?? (await renewFirst(table, [request]))[0];
  }));
}

/**
 * Extends each lock that is live and the first of its name. Of several, one whose row is locked is answered as it is,
 * not extended, with its present expiry. One alone is tried again for some seconds.
 */
async function renewFirst(
  table: LockTable,
  requests: readonly RenewRequest[],
): Promise<(LockRow | undefined)[]> {
  const send = (statement: keyof Statements, parameters: (string | null)[]) =>
    table.send(() => `renew ${namesOf(requests)}`, statement, parameters);
  const one = requests.length === 1;
  try {
    const parameters = one ? renewParameters(requests[0]) : renewArrays(requests);
    return inOrderOf(requests, await send(one ? "renew" : "renewEach", parameters));
  } catch (error) {
    if (!isRowLocked((error as Error).cause)) throw error;
    const attempt = async () => {
      const renewed = inOrderOf(requests, await send("renewUnlocked", renewArrays(requests)));
      const left = requests.filter((_request, index) => renewed[index] === undefined);
      if (left.length === 0) return { renewed, locked: [] };
      const locked = inOrderOf(requests, await send("listOwned", refArrays(left)));
      return { renewed, locked };
    };
    if (one) {
      return await retryWhileLocked(table, error as Error, async () => {
        const { renewed, locked: [locked] } = await attempt();
        return locked ? undefined : { answer: renewed };
      });
    }
    const { renewed, locked } = await attempt();
    return renewed.map((row, index) => row ?? locked[index]);
  }
}
