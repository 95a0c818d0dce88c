/**
 * Rows that a transaction has locked, as `guard` does. No statement of another request waits for them: the shortest wait
 * of the servers is a second, and the connection is blocked meanwhile.
 *
 * @module
 */
import { BackendError } from "../../../core/errors.ts";
import { Backoff } from "../../../core/util/backoff.ts";
import { LruMap } from "../../../core/util/lru_map.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { clusterOf, type Server } from "../connection/server.ts";
import { isConflict, isLockWaitTimeout } from "../errors.ts";
import type { NoWait } from "./acquire_statements.ts";
import type { LockTable } from "./lock_table.ts";

function noWaitOn(server: Server): NoWait | undefined {
  const cluster = clusterOf(server);
  if (cluster && !/galera|wsrep/i.test(cluster)) return undefined; // Vitess and TiDB
  if (server.kind === "mariadb") return "fail";
  return parseInt(server.version) >= 8 && !server.logsStatements ? "skip" : undefined;
}

/** Pauses between attempts on a locked row, and how long it is tried (ms). */
const LOCKED_PAUSE = { first: 5, longest: 100, jitter: 1 };
const LOCKED_FOR_MS = 4_000;
/** How long (ms) a row that was seen locked is treated as one. */
const REMEMBERED_MS = 10_000;
const SIZE = 4_096;

/** The rows that were lately seen locked by transactions, and how many statements may be waiting for one. */
export class LockedRows {
  readonly #seen = new LruMap<string, number>(SIZE);
  readonly #most: number;
  #waiting = 0;

  /** @param connections How many connections there may be: statements on half of them may wait for rows. */
  constructor(connections: number) {
    this.#most = Math.floor(connections / 2);
  }

  /** Remembers that a transaction may have locked the rows of these names. */
  note(targets: readonly { readonly name: string }[]): void {
    for (const { name } of targets) this.#seen.set(name, monotonic());
  }

  /**
   * Runs `work`, a statement on these names that avoids a wait in the way it is told; without one it may wait. It is
   * counted meanwhile, and rows that it finds locked are remembered.
   *
   * @param briefly On MariaDB: waits up to a second instead of failing at once, unless a transaction was seen to lock
   * the rows: the changes of other clients are short.
   */
  async send<T>(
    server: Server,
    targets: readonly { readonly name: string }[],
    work: (noWait: NoWait | undefined) => Promise<T>,
    briefly = false,
  ): Promise<T> {
    const noWait = this.#noWaitFor(server, targets, briefly);
    const mayWait = noWait === undefined || noWait === "briefly";
    if (mayWait) this.#waiting++;
    try {
      return await work(noWait);
    } catch (error) {
      if (isRowLocked(error)) this.note(targets);
      throw error;
    } finally {
      if (mayWait) this.#waiting--;
    }
  }

  #noWaitFor(
    server: Server,
    targets: readonly { readonly name: string }[],
    briefly: boolean,
  ): NoWait | undefined {
    const noWait = noWaitOn(server);
    if (noWait === undefined || (noWait === "fail" && !briefly) || this.#waiting >= this.#most) return noWait;
    const since = monotonic() - REMEMBERED_MS;
    const isSeen = targets.some(({ name }) => (this.#seen.get(name) ?? -Infinity) > since);
    return isSeen ? noWait : noWait === "fail" ? "briefly" : undefined;
  }
}

/** Whether an error says that a transaction keeps the row locked. */
export function isRowLocked(error: unknown): boolean {
  return error instanceof BackendError && isLockWaitTimeout(error.cause);
}

/** Whether to send a statement again at once: not for a locked row, which would block the connection. */
export function isPassingConflict(error: unknown): boolean {
  return isConflict(error) && !isLockWaitTimeout(error);
}

/**
 * Repeats an attempt, with pauses, while a transaction keeps the row locked.
 *
 * @param attempt Returns its result, or nothing when the row was locked.
 * @throws {BackendError} When the row stays locked.
 */
export async function retryWhileLocked<T>(
  table: LockTable,
  what: string,
  attempt: () => Promise<{ readonly result: T } | undefined>,
): Promise<T> {
  const startedAt = monotonic();
  for (const backoff = new Backoff(LOCKED_PAUSE);;) {
    let failure: unknown;
    const done = await attempt().catch((error) => {
      if (!isRowLocked(error)) throw error;
      failure = error;
      return undefined;
    });
    if (done) return done.result;
    if (monotonic() - startedAt > LOCKED_FOR_MS) {
      throw failure ??
        new BackendError(`Cannot ${what}: another transaction keeps the row locked`, { retryable: true });
    }
    await table.pause(what, backoff.next());
  }
}
