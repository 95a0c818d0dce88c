/**
 * Rows that a transaction has locked, as `guard` does. No statement of another request waits for them: the shortest wait
 * of the servers is a second, and the connection is blocked meanwhile.
 *
 * @module
 */
import { LruMap } from "../../../core/util/lru_map.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { clusterOf, type Server } from "../connection/server.ts";
import { isRowLocked } from "../errors.ts";
import type { NoWait } from "./acquire_statements.ts";

function noWaitOn(server: Server): NoWait | undefined {
  const cluster = clusterOf(server);
  if (cluster && !/galera|wsrep/i.test(cluster)) return undefined; // Vitess and TiDB
  if (server.kind === "mariadb") return "fail";
  return parseInt(server.version) >= 8 && !server.logsStatements ? "skip" : undefined;
}

/** How long (ms) a row that was seen locked is treated as one. */
const REMEMBERED_MS = 10_000;
const SIZE = 4_096;

/** The rows that were lately seen locked by transactions, and how many statements may be waiting for one. */
export class LockedRows {
  readonly #seen = new LruMap<string, number>(SIZE);
  readonly #most: number;
  readonly #isExternal: boolean;
  #waiting = 0;

  /**
   * @param connections How many connections there may be: statements on half of them may wait for rows.
   * @param isExternal Whether they are the caller's, where a statement may wait for a minute.
   */
  constructor(connections: number, isExternal: boolean) {
    this.#most = Math.floor(connections / 2);
    this.#isExternal = isExternal;
  }

  /** Remembers that a transaction may have locked the rows of these names. */
  note(targets: readonly { readonly name: string }[]): void {
    for (const { name } of targets) this.#seen.set(name, monotonic());
  }

  /**
   * Runs `work`, a statement on these names that avoids a wait in the way it is told; without one it may wait. It is
   * counted meanwhile, and rows that it finds locked are remembered.
   *
   * @param briefly Waits up to a second, unless a transaction was seen to lock the rows: the changes of other clients are
   * short. MySQL cannot limit one statement's wait: on connections of the caller's it does not wait.
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
    const isLimited = noWait === "fail" ? briefly : !(briefly && this.#isExternal);
    if (noWait === undefined || !isLimited || this.#waiting >= this.#most) return noWait;
    const since = monotonic() - REMEMBERED_MS;
    const isSeen = targets.some(({ name }) => (this.#seen.get(name) ?? -Infinity) > since);
    return isSeen ? noWait : noWait === "fail" ? "briefly" : undefined;
  }
}
