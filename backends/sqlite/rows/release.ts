import type { LockRef } from "../../../core/backend.ts";
import { ownerText } from "../../../core/util/requests.ts";
import type { Connection } from "../connection/connection.ts";
import type { Queue } from "../queue/queue.ts";
import { inChunks, SHORT_LEASE_US, type Statements } from "./statements.ts";

/** Releases locks through one connection. */
export class Releaser {
  readonly #connection: Connection;
  readonly #sql: Statements;
  readonly #queue: Queue;

  constructor(connection: Connection, sql: Statements, queue: Queue) {
    this.#connection = connection;
    this.#sql = sql;
    this.#queue = queue;
  }

  /** Releases the locks that are held, and returns which were. */
  async release(what: string, targets: readonly LockRef[]): Promise<boolean[]> {
    if (targets.length > 1 && targets.every(({ owner, keep }) => typeof owner === "string" && keep === undefined)) {
      const all = await this.#connection.write(what, "NORMAL", () => this.#releaseMany(targets), (all) => all);
      if (all) return targets.map(() => true);
    }
    const short = await this.#connection.write(what, "NORMAL", () => {
      return targets.map((target) => this.#release(target, SHORT_LEASE_US));
    });
    const others = targets.filter((_, index) => short[index] === undefined);
    if (others.length === 0) return short as boolean[];
    const durably = await this.#connection.write(what, "FULL", () => {
      return others.map((target) => this.#release(target));
    });
    const rest = durably.values();
    return short.map((released) => released ?? rest.next().value!);
  }

  /** Returns `false`, to be undone, when not all are short leases without a line: a count does not say which are. */
  #releaseMany(targets: readonly LockRef[]): boolean {
    return inChunks(targets).every((chunk) => {
      const claims = [...chunk.map(({ name }) => name), ...chunk.map(({ name, owner }) => `${owner}\0${name}`)];
      return this.#connection.run(this.#sql.releaseMany(chunk.length), ...claims) === chunk.length;
    });
  }

  /**
   * Releases one lock. Leases with at most `most` left need not reach the disk: a power failure that undoes the release
   * leaves a lock that expires soon, and with it undoes what was granted to a waiter, who has not confirmed it.
   */
  #release(target: LockRef, most = Infinity): boolean | undefined {
    if (target.keep !== undefined) return this.#queue.release(target, most);
    const freed = this.#connection.run(this.#sql.release, target.name, ownerText(target.owner), most) > 0;
    return freed || this.#queue.release(target, most);
  }
}
