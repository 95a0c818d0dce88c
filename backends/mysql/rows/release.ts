import type { LockRef, OwnedLock } from "../../../core/backend.ts";
import { namesOf } from "../../../core/util/requests.ts";
import type { Server } from "../connection/server.ts";
import { isOneHeld, isPassingConflict, isRowLocked } from "../errors.ts";
import type { NoWait } from "./acquire_statements.ts";
import type { RowParts } from "./row_parts.ts";
import { chunks, sorted } from "./rows.ts";

/** Releases each lock that is still live: one in a statement, several in a batch. */
export async function release(parts: RowParts, targets: readonly LockRef[]): Promise<boolean[]> {
  const { table, queue, unknown } = parts;
  const what = `release ${namesOf(targets)}`;
  const server = await table.ready(what);
  await unknown.settle(what, targets);
  const claims = targets.filter((target): target is OwnedLock => typeof target.owner === "string");
  const plain = claims.filter((claim) => claim.keep === undefined && !queue.seen.isQueued(claim.name));
  const isBatch = plain.length === targets.length && plain.length > 1;
  const batches = isBatch ? chunks(sorted(plain)) : [];
  const freed = new Set((await Promise.all(batches.map((batch) => releaseAll(parts, what, batch, server)))).flat());
  return await Promise.all(targets.map((target) => {
    return freed.has(target as OwnedLock) || releaseOne(parts, what, target, server);
  }));
}

/** Releases one: with one statement if it is held alone, or has an exclusive lock with a queue. */
export async function releaseOne(
  { table, hints, lockedRows, queue }: RowParts,
  what: string,
  target: LockRef,
  server: Server,
): Promise<boolean> {
  const sending = { what, server };
  const { seen } = queue;
  const send = (noWait?: NoWait) => table.run(what, table.sql.release(target, noWait), isPassingConflict);
  const release = async () => (await lockedRows.send(server, [target], send, true)).affectedRows > 0;
  const attempts = [
    () => table.whenUnlocked(what, release),
    () => queue.handOff(sending, target),
  ];
  if (seen.isQueued(target.name)) attempts.reverse();
  const isWhole = target.keep !== undefined || seen.isWaiting(target);
  const freed = (!isWhole && (await attempts[0]() || await attempts[1]())) || await queue.release(sending, target);
  if (typeof target.owner === "string") hints.forget(target as OwnedLock);
  return freed;
}

/**
 * Releases all, or none when the row of one says that it is gone; returns those that were released. In one statement:
 * a client that is cut off, or stopped, in a transaction would keep the rows locked for hours.
 */
async function releaseAll(
  { table, hints, lockedRows }: RowParts,
  what: string,
  claims: readonly OwnedLock[],
  server: Server,
): Promise<readonly OwnedLock[]> {
  const { sql } = table;
  const send = (noWait?: NoWait) => table.run(what, sql.releaseAll(claims, noWait), isPassingConflict);
  const answer = await lockedRows.send(server, claims, send).catch((error) => {
    if (!isRowLocked(error) && !isOneHeld(error)) throw error;
  });
  if (answer === undefined) return [];
  let freed = claims;
  if (answer.affectedRows < claims.length) { // rows were deleted
    const { rows } = await table.run(what, sql.selectNames(claims));
    const there = new Set(rows.map(([name]) => name));
    freed = claims.filter(({ name }) => there.has(name));
  }
  for (const claim of freed) hints.forget(claim);
  return freed;
}
