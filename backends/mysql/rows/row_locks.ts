import { LruMap } from "../../../core/util/lru_map.ts";
import { monotonic } from "../../../core/util/runtime.ts";
import { clusterOf, type Server } from "../connection/server.ts";

/**
 * How a statement leaves out rows that a transaction keeps locked, as `guard` does, instead of waiting for them: the
 * shortest wait of the servers is a second, and meanwhile the connection is of no use to other requests.
 *
 * - `"fail"` (MariaDB): the statement fails with error 1205 at once. It costs nothing.
 * - `"skip"` (MySQL 8 and later): the rows are left out. It costs half as much again.
 */
export type Unlocked = "fail" | "skip";

/** How this server can be told not to wait; `undefined` when it cannot. */
export function unlockedOn(server: Server): Unlocked | undefined {
  if (clusterOf(server) && !/galera|wsrep/i.test(clusterOf(server)!)) return undefined; // Vitess and TiDB
  if (server.kind === "mariadb") return "fail";
  return parseInt(server.version) >= 8 && !server.logsStatements ? "skip" : undefined;
}

/** Pauses while a transaction keeps the row locked (ms): from the first to the last, doubling, with jitter. */
export const RETRY_FIRST_MS = 5;
/** The last of them (ms). */
export const RETRY_LAST_MS = 100;
/** How long a release or a renewal waits for such a transaction (ms). */
export const RETRY_FOR_MS = 4_000;

/** How long (ms) a row that was seen locked is taken for one that may be. */
const REMEMBERED_MS = 10_000;
const SIZE = 4_096;

/** Which rows were lately seen locked by transactions, and how many statements may be waiting for one. */
export class RowLocks {
  readonly #seen = new LruMap<string, number>(SIZE);
  readonly #most: number;
  #waiting = 0;

  /** @param connections How many connections there may be: half of them may wait for rows. */
  constructor(connections: number) {
    this.#most = Math.floor(connections / 2);
  }

  /** Remembers that a transaction keeps, or may keep, the rows of these names locked. */
  note(targets: readonly { readonly name: string }[]): void {
    for (const { name } of targets) this.#seen.set(name, monotonic());
  }

  /** How a statement on these names should be sent: `undefined` is one that may wait. */
  wayFor(server: Server, targets: readonly { readonly name: string }[]): Unlocked | undefined {
    const way = unlockedOn(server);
    if (way !== "skip" || this.#waiting >= this.#most) return way;
    const since = monotonic() - REMEMBERED_MS;
    return targets.some(({ name }) => (this.#seen.get(name) ?? -Infinity) > since) ? way : undefined;
  }

  /** Counts a statement that may wait for as long as it is under way. */
  async waiting<T>(work: () => Promise<T>): Promise<T> {
    this.#waiting++;
    try {
      return await work();
    } finally {
      this.#waiting--;
    }
  }
}
