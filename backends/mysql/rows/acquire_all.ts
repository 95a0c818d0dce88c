import type { AcquireRequest } from "../../../core/backend.ts";
import { isOneHeld } from "../errors.ts";
import type { Liveness, LivenessLock } from "../../sessions/liveness.ts";
import type { Server } from "../connection/server.ts";
import type { Queue } from "../queue/queue.ts";
import type { LockTable } from "./lock_table.ts";
import type { NameHints } from "./name_hints.ts";
import { chunks, type OwnedRow, toOwnedRow } from "./rows.ts";
import type { UnknownRequests } from "./unknown_requests.ts";

/** What acquisitions need of their backend. */
export interface AcquisitionParts {
  readonly table: LockTable;
  readonly hints: NameHints;
  readonly queue: Queue;
  readonly unknown: UnknownRequests;
  /** The liveness lock, in `hybrid` mode. */
  readonly liveness: Liveness | undefined;
  /** Whether the connections are the caller's, with an isolation level of their own. */
  readonly isExternal: boolean;
}

/** What the statements of one attempt have in common. */
export interface Attempt {
  /** The action, for error messages. */
  readonly what: string;
  readonly server: Server;
  readonly liveness: LivenessLock | undefined;
}

/** The owner that each name is wanted for. */
export function ownersOf(requests: readonly AcquireRequest[]): Map<string, string> {
  return new Map(requests.map(({ name, owner }) => [name, owner]));
}

/** Acquires all names, or none. Returns the live rows. */
export async function acquireAll(
  parts: AcquisitionParts,
  attempt: Attempt,
  requests: AcquireRequest[],
): Promise<OwnedRow[]> {
  const owners = ownersOf(requests);
  const isOurs = ({ row, owner }: OwnedRow) => owners.get(row.name) === owner;
  const before = await parts.table.liveRows(attempt.what, requests.map(({ name }) => name));
  if (requests.length === 0 || before.some((row) => !isOurs(row))) return before;
  const live = await acquireTogether(parts, attempt, requests, isOurs);
  if (live.length === requests.length || !live.every(isOurs)) return live;
  const acquired = new Set(live.map(({ row }) => row.name));
  const others = requests.filter(({ name }) => !acquired.has(name)); // held a moment ago, or with a queue
  const areEmpty = await Promise.all(others.map(({ name }) => parts.queue.isEmpty(attempt, name)));
  return areEmpty.every(Boolean) ? await acquireTogether(parts, attempt, requests, isOurs) : live;
}

/** Acquires all names in one transaction, which is undone if one is not free. */
async function acquireTogether(
  parts: AcquisitionParts,
  attempt: Attempt,
  requests: AcquireRequest[],
  isOurs: (row: OwnedRow) => boolean,
): Promise<OwnedRow[]> {
  if (!parts.table.hasTransactions) return await acquireAtOnce(parts, attempt, requests, isOurs);
  const { what, liveness } = attempt;
  return await parts.table.transaction(what, async (send) => {
    const result: OwnedRow[] = [];
    for (const some of chunks(requests)) {
      await send(parts.table.sql.acquire(some, false, liveness));
      const { rows } = await send(parts.table.sql.selectLive(some.map(({ name }) => name), true));
      result.push(...rows.map(toOwnedRow));
      if (!result.every(isOurs)) break;
    }
    return { keep: result.length === requests.length && result.every(isOurs), result };
  });
}

/** The same in one statement, where each may take another connection. */
async function acquireAtOnce(
  parts: AcquisitionParts,
  attempt: Attempt,
  requests: AcquireRequest[],
  isOurs: (row: OwnedRow) => boolean,
): Promise<OwnedRow[]> {
  const { what } = attempt;
  try {
    await parts.table.run(what, parts.table.sql.acquire(requests, false, undefined, true));
  } catch (error) {
    if (!isOneHeld(error)) throw error;
    return await parts.table.liveRows(what, requests.map(({ name }) => name));
  }
  const rows = await parts.table.acquiredRows(what, requests);
  // Some have expired, and others took them.
  if (!rows.every(isOurs)) { for (const request of requests) await parts.queue.release(attempt, request); }
  return rows;
}
