import type { LockRef, NextHolder, OwnedLock } from "../../../core/backend.ts";
import { namesOf, ownerText } from "../../../core/util/requests.ts";
import { keptOwner } from "../../shared/line.ts";
import { isRowLocked } from "../errors.ts";
import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import { retryWhileLocked, whenUnlocked } from "./locked_rows.ts";
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
  return (await whenUnlocked(table, send)).length > 0;
}

/** Releases a lock whose name stays unavailable until `keep` after its acquisition. */
export async function releaseKeeping(
  table: LockTable,
  queue: Queue,
  { name, owner, keep }: OwnedLock,
): Promise<boolean> {
  const targets = [{ name, owner }];
  const what = () => `release ${namesOf(targets)}`;
  const noHolder = { owner: keptOwner(owner), lockedBy: "", lockProcess: null };
  const send = (from: string) => changeOwner(table, what, { name, owner: from }, noHolder, keep);
  if (await send(owner) || await releaseOne(table, queue, targets[0])) return true;
  return await send(noHolder.owner); // the first of two requests took effect
}

/** Releases locks; returns of each whether it was held. One lock whose row is locked is tried again for some seconds. */
export async function release(
  table: LockTable,
  queue: Queue,
  targets: readonly LockRef[],
): Promise<boolean[]> {
  const what = () => `release ${namesOf(targets)}`;
  if (targets.length === 1) return [await releaseOne(table, queue, targets[0])];
  const [row] = await table.send(what, "releaseEach", refArrays(targets), targets);
  const released = Array.from(row.released!, (digit) => digit === "1");
  const others = targets.filter((_, index) => !released[index]);
  if (others.length === 0) return released;
  const names = JSON.stringify(others.map(({ name }) => name));
  const queued = new Set((await table.send(what, "selectQueued", [names])).map(({ name }) => name));
  return await Promise.all(
    targets.map((target, index) => released[index] || (queued.has(target.name) && leave(table, queue, target))),
  );
}

/** Removes an entry from a queue. */
async function leave(table: LockTable, queue: Queue, target: LockRef): Promise<boolean> {
  return await whenUnlocked(table, () => queue.release(target));
}

async function releaseOne(table: LockTable, queue: Queue, target: LockRef): Promise<boolean> {
  if (queue.mayHave(target)) return await leave(table, queue, target);
  return await releasePlain(table, target) || await leave(table, queue, target);
}

/** Releases a lock that no client waits for. */
async function releasePlain(table: LockTable, target: LockRef): Promise<boolean> {
  const targets = [target];
  const what = () => `release ${namesOf(targets)}`;
  const { name } = target;
  const whose = ownerText(target.owner);
  try {
    const [row] = await table.send(what, "release", [name, whose], targets);
    return row?.held === "true";
  } catch (error) {
    if (!isRowLocked((error as Error).cause)) throw error;
    return await retryWhileLocked(table, error as Error, async () => {
      const [row] = await table.send(what, "releaseUnlocked", [name, whose], targets);
      if (row.released === "true") return { answer: true };
      return row.locked === "true" ? undefined : { answer: false };
    });
  }
}
