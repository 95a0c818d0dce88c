import type { LockRef, NextHolder, OwnedLock } from "../../../core/backend.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { namesOf, ownerText } from "../../../core/util/requests.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { keptOwner } from "../../shared/line.ts";
import { isRowLocked } from "../errors.ts";
import type { Queue } from "../queue/queue.ts";
import type { RowSender } from "./row_sender.ts";
import { refArrays } from "./rows.ts";
import { textOf } from "./rows.ts";

/** How long the request for a locked row is repeated (ms), and the pauses between tries. */
const LOCKED_ROW_MS = 5_000;
const PAUSES = { first: 5, longest: 100, factor: 1.5, jitter: 0.5 };

/**
 * Repeats a request while its row is locked, holding no connection between tries.
 *
 * @param error What to throw when the row stays locked.
 * @param attempt One try; returns `undefined` while the row is locked.
 */
export async function retryWhileLocked<T>(
  sender: RowSender,
  error: Error,
  attempt: () => Promise<{ readonly answer: T } | undefined>,
): Promise<T> {
  const until = monotonic() + LOCKED_ROW_MS;
  const backoff = new Backoff(PAUSES);
  while (monotonic() < until) {
    await sender.pause(backoff.next());
    const found = await attempt();
    if (found) return found.answer;
  }
  throw error;
}

/** Sends a request, and repeats it while its row is locked. */
async function whenUnlocked<T>(sender: RowSender, send: () => Promise<T>): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (!isRowLocked((error as Error).cause)) throw error;
    return await retryWhileLocked(sender, error as Error, async () => {
      try {
        return { answer: await send() };
      } catch (error) {
        if (isRowLocked((error as Error).cause)) return undefined;
        throw error;
      }
    });
  }
}

/** Gives a live lock to another owner, with `keep` (µs) until so long after its grant; returns whether it did. */
export async function changeOwner(
  sender: RowSender,
  what: () => string,
  { name, owner }: OwnedLock,
  next: NextHolder,
  keep: number | null = null,
): Promise<boolean> {
  const parameters = [name, owner, next.owner, next.lockedBy, textOf(next.lockProcess), textOf(keep)];
  const send = () => sender.send(what, "changeOwner", parameters, [{ name }]);
  return (await whenUnlocked(sender, send)).length > 0;
}

/** Releases a lock whose name stays unavailable until `keep` after its acquisition. */
export async function releaseKeeping(
  sender: RowSender,
  queue: Queue,
  { name, owner, keep }: OwnedLock,
): Promise<boolean> {
  const targets = [{ name, owner }];
  const what = () => `release ${namesOf(targets)}`;
  const noHolder = { owner: keptOwner(owner), lockedBy: "", lockProcess: null };
  const send = (from: string) => changeOwner(sender, what, { name, owner: from }, noHolder, keep);
  if (await send(owner) || await releaseOne(sender, queue, targets[0])) return true;
  return await send(noHolder.owner); // the first of two requests took effect
}

/** Releases locks; returns of each whether it was held. One lock whose row is locked is tried again for some seconds. */
export async function release(
  sender: RowSender,
  queue: Queue,
  targets: readonly LockRef[],
): Promise<boolean[]> {
  const what = () => `release ${namesOf(targets)}`;
  if (targets.length === 1) return [await releaseOne(sender, queue, targets[0])];
  const [row] = await sender.send(what, "releaseEach", refArrays(targets), targets);
  const released = Array.from(row.released!, (digit) => digit === "1");
  const others = targets.filter((_, index) => !released[index]);
  if (others.length === 0) return released;
  const names = JSON.stringify(others.map(({ name }) => name));
  const queued = new Set((await sender.send(what, "selectQueued", [names])).map(({ name }) => name));
  return await Promise.all(
    targets.map((target, index) => released[index] || (queued.has(target.name) && leave(sender, queue, target))),
  );
}

/** Removes an entry from a queue. */
async function leave(sender: RowSender, queue: Queue, target: LockRef): Promise<boolean> {
  return await whenUnlocked(sender, () => queue.release(target));
}

async function releaseOne(sender: RowSender, queue: Queue, target: LockRef): Promise<boolean> {
  if (queue.mayHave(target)) return await leave(sender, queue, target);
  return await releasePlain(sender, target) || await leave(sender, queue, target);
}

/** Releases a lock that no client waits for. */
async function releasePlain(sender: RowSender, target: LockRef): Promise<boolean> {
  const targets = [target];
  const what = () => `release ${namesOf(targets)}`;
  const { name } = target;
  const whose = ownerText(target.owner);
  try {
    const [row] = await sender.send(what, "release", [name, whose], targets);
    return row?.held === "true";
  } catch (error) {
    if (!isRowLocked((error as Error).cause)) throw error;
    return await retryWhileLocked(sender, error as Error, async () => {
      const [row] = await sender.send(what, "releaseUnlocked", [name, whose], targets);
      if (row.released === "true") return { answer: true };
      return row.locked === "true" ? undefined : { answer: false };
    });
  }
}
