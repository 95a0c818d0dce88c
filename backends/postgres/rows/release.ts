import type { LockRef, NextHolder, OwnedLock } from "../../../core/backend.ts";
import { namesOf, ownerText } from "../../../core/util/requests.ts";
import { keptOwner } from "../../shared/line.ts";
import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import { refArrays, textOf } from "./rows.ts";

/** Gives a live lock to another owner, with `keep` (µs) until so long after its grant; returns whether it did. */
export async function changeOwner(
  table: LockTable,
  what: () => string,
  { name, owner }: OwnedLock,
  next: NextHolder,
  keep: number | null = null,
): Promise<boolean> {
  const parameters = [name, owner, next.owner, next.lockedBy, textOf(next.lockProcess), textOf(keep)];
  const send = () => table.send(what, "changeOwner", parameters, [{ name }]);
  return (await table.whenUnlocked(send)).length > 0;
}

/** Releases a lock whose name stays unavailable until `keep` after its acquisition. */
async function releaseKeeping(table: LockTable, queue: Queue, { name, owner, keep }: OwnedLock): Promise<boolean> {
  const what = () => `release ${namesOf([{ name }])}`;
  const noHolder = { owner: keptOwner(owner), lockedBy: "", lockProcess: null };
  const send = (from: string) => changeOwner(table, what, { name, owner: from }, noHolder, keep);
  if (await send(owner) || await releaseOne(table, queue, { name, owner })) return true;
  return await send(noHolder.owner); // the first of two requests took effect
}

/** Releases locks; returns of each whether it was held. */
export async function release(
  table: LockTable,
  queue: Queue,
  targets: readonly LockRef[],
): Promise<boolean[]> {
  if (targets.length === 1) return [await releaseOne(table, queue, targets[0])];
  const batch = targets.filter(({ keep }) => keep === undefined);
  if (batch.length === 0) return await Promise.all(targets.map((target) => releaseOne(table, queue, target)));
  const what = () => `release ${namesOf(batch)}`;
  const [row] = await table.send(what, "releaseEach", refArrays(batch), batch);
  const freed = new Set(batch.filter((_, index) => row.released![index] === "1"));
  return await Promise.all(targets.map((target) => {
    if (target.keep !== undefined) return releaseOne(table, queue, target);
    return freed.has(target) || table.whenUnlocked(() => queue.release(target)); // a queue may have come or gone meanwhile
  }));
}

async function releaseOne(table: LockTable, queue: Queue, target: LockRef): Promise<boolean> {
  if (target.keep !== undefined) return await releaseKeeping(table, queue, target as OwnedLock);
  const what = () => `release ${namesOf([target])}`;
  return await table.whenUnlocked(async () => {
    if (queue.concerns(target)) return await queue.release(target);
    const isExpected = queue.expectsWaiter(target.name);
    const statement = isExpected ? "handOver" : "release";
    const [row] = await table.send(what, statement, [target.name, ownerText(target.owner)], [target]);
    if (row?.held !== "true") return await queue.release(target);
    if (isExpected && row.notified === null) queue.expectNoWaiter(target.name);
    return true;
  });
}
