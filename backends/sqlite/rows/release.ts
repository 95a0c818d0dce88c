import type { LockRef, OwnedLock } from "../../../core/backend.ts";
import { ownerText } from "../../../core/util/requests.ts";
import type { Connection } from "../connection/connection.ts";
import type { Queue } from "../queue/queue.ts";
import { inChunks, SHORT_LEASE_US, type Statements } from "./statements.ts";

/** Releases locks through one connection. */
export class Releaser {
  readonly #connection: Connection;
  readonly #sql: Statements;
  readonly #queue: Queue;
  readonly #freed: (name: string) => void;

  /** @param freed Called with each name that no client waited for. */
  constructor(connection: Connection, sql: Statements, queue: Queue, freed: (name: string) => void) {
    this.#connection = connection;
    this.#sql = sql;
    this.#queue = queue;
    this.#freed = freed;
  }

  /** Releases the locks that are held, and returns which were. */
  async release(what: string, targets: readonly LockRef[]): Promise<boolean[]> {
    const claims = targets.filter((target): target is OwnedLock => typeof target.owner === "string");
    const isPlain = claims.length === targets.length && claims.every(({ keep }) => keep === undefined);
    if (targets.length > 1 && isPlain) {
      const all = await this.#connection.write(what, "NORMAL", () => this.#releaseMany(claims), (all) => all);
      if (all) {
        for (const { name } of targets) this.#freed(name);
        return targets.map(() => true);
      }
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

  /**
   * Releases one lock. Leases with at most `most` left need not reach the disk: a power failure that undoes the release
   * leaves a lock that expires soon, and with it undoes what was granted to a waiter, who has not confirmed it.
   */
  #release(target: LockRef, most = Infinity): boolean | undefined {
    if (target.keep !== undefined) return this.#queue.release(target, most);
    const freed = this.#connection.run(this.#sql.release, target.name, ownerText(target.owner), most) > 0;
    if (freed) this.#freed(target.name);
    return freed || this.#queue.release(target, most);
  }

  /** Returns `false`, to be undone, when a lock was gone or has more time left: a count alone does not say which. */
  #releaseMany(claims: readonly OwnedLock[]): boolean {
    const now = Number((this.#connection.prepare(this.#sql.now).get() as { now: string }).now);
    let released = 0;
    for (const chunk of inChunks(claims)) {
      const times = [now, now, now, now + SHORT_LEASE_US];
      const parameters = [...times, ...chunk.map(({ name }) => name), ...chunk.map(({ owner }) => owner)];
      released += this.#connection.run(this.#sql.releaseMany(chunk.length), ...parameters);
    }
    return released === claims.length;
  }
}
