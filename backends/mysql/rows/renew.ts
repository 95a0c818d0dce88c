import type { LockRow, RenewRequest } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import type { Server } from "../connection/server.ts";
import { isPassingConflict, isRowLocked } from "../errors.ts";
import { type NoWait, READ_THE_ROW } from "./acquire_statements.ts";
import type { NameHints } from "./name_hints.ts";
import type { RowParts } from "./row_parts.ts";
import { chunks, isOf, type OwnedRow, sorted } from "./rows.ts";

/** Whether the columns of a row are of the acquisition that a request is about, or by name of the only holder. */
function isHeld(request: RenewRequest, owned: OwnedRow): boolean {
  const isAlone = request.owner !== null || (owned.row.limit ?? 1) === 1;
  return isAlone && isOf(request, owned) && owned.row.lockedBy !== "";
}

/** Extends each lock that is still live: one in a statement, several in a batch. */
export async function renew(parts: RowParts, requests: readonly RenewRequest[]): Promise<(LockRow | undefined)[]> {
  const what = `renew ${namesOf(requests)}`;
  const server = await parts.table.ready(what);
  const rows = await renewFirst(parts, what, requests, server);
  // A lock that is not in the columns of its row may be one of several in `line`; by name, all of them are meant.
  return await Promise.all(
    requests.map((request, index) => rows[index] ?? parts.queue.renew({ what, server }, request)),
  );
}

/** Extends the holders that the rows have in their columns. */
async function renewFirst(
  parts: RowParts,
  what: string,
  requests: readonly RenewRequest[],
  server: Server,
): Promise<(LockRow | undefined)[]> {
  if (requests.length === 1) return [await renewOne(parts, what, requests[0], server)];
  const { table, hints } = parts;
  const alike = Map.groupBy(sorted(requests), ({ from, add }) => `${from} ${add}`);
  const rows = new Map<string, OwnedRow>();
  for (const batch of [...alike.values()].flatMap(chunks)) {
    await renewAll(parts, what, batch, server);
    for (const owned of await table.liveRows(what, batch.map(({ name }) => name))) rows.set(owned.row.name, owned);
  }
  return requests.map((request) => renewed(hints, request, rows.get(request.name)));
}

/**
 * Extends several. A lock whose row a transaction keeps locked is not extended, and does not delay the others: its
 * answer shows the time left, and the holder renews again in time.
 */
async function renewAll(
  parts: RowParts,
  what: string,
  requests: readonly RenewRequest[],
  server: Server,
): Promise<void> {
  const { table, lockedRows } = parts;
  const send = (noWait?: NoWait) => table.renew(what, table.sql.renewAll(requests, noWait), isPassingConflict);
  try {
    await lockedRows.send(server, requests, send);
  } catch (error) {
    if (!isRowLocked(error)) throw error;
    if (requests.length === 1) return;
    for (const request of requests) await renewAll(parts, what, [request], server);
  }
}

async function renewOne(
  parts: RowParts,
  what: string,
  request: RenewRequest,
  server: Server,
): Promise<LockRow | undefined> {
  const { table, hints, lockedRows } = parts;
  // MySQL guarantees no order of assignments in the form that skips locked rows: the clock in the outcome would be wrong.
  const answer = await lockedRows.send(server, [request], async (noWait) => {
    return noWait === "skip" ? undefined : await table.renew(what, table.sql.renew(request, noWait));
  });
  if (answer === undefined) return await renewUnlocked(parts, what, request);
  const { insertId: outcome } = answer;
  if (outcome === 0n) return undefined;
  const { name, owner, from, add } = request;
  const granted = typeof owner === "string" ? hints.granted({ name, owner }) : undefined;
  if (!granted || outcome === READ_THE_ROW) return renewed(hints, request, (await table.liveRows(what, [name]))[0]);
  const now = Number(outcome);
  const lockedUntil = add === null ? null : (from === "now" ? now : Number(from)) + add;
  const row = { ...granted, lockedUntil, updatedAt: now, now };
  hints.noteGranted(owner as string, row);
  return row;
}

async function renewUnlocked(
  { table, hints }: RowParts,
  what: string,
  request: RenewRequest,
): Promise<LockRow | undefined> {
  const sql = table.sql.renewAll([request], "skip");
  const { owned } = await table.whenUnlocked(what, async () => {
    const { affectedRows } = await table.renew(what, sql, isPassingConflict);
    const [owned] = await table.liveRows(what, [request.name]);
    return affectedRows > 0 || !owned || !isHeld(request, owned) ? { owned } : undefined;
  });
  return renewed(hints, request, owned);
}

/** The row after a renewal; `undefined` when it is gone or of another acquisition. */
function renewed(hints: NameHints, request: RenewRequest, owned: OwnedRow | undefined): LockRow | undefined {
  if (!owned || !isHeld(request, owned)) return undefined;
  if (typeof request.owner === "string") hints.noteGranted(request.owner, owned.row);
  return owned.row;
}
