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
    const released = await this.#releaseShort(what, targets);
    const others = targets.filter((_, index) => !released[index]);
    if (others.length === 0) return released;
    const durably = await this.#connection.write(what, "FULL", () => {
      const freed = this.#releaseEach(this.#sql.release, others);
      return others.map((target, index) => freed[index] || this.#queue.release(target));
    });
    const rest = durably.values();
    return released.map((done) => done || rest.next().value!);
  }

  /**
   * Releases leases with little time left without waiting for the disk: a power failure that undoes the release leaves
   * a lock that expires soon. Leaves other locks alone.
   */
  async #releaseShort(what: string, targets: readonly LockRef[]): Promise<boolean[]> {
    const claims = targets.filter((target): target is OwnedLock => typeof target.owner === "string");
    if (targets.length === 1 || claims.length < targets.length) {
      return await this.#connection.write(what, "NORMAL", () => this.#releaseEach(this.#sql.releaseShort, targets));
    }
    const all = await this.#connection.write(what, "NORMAL", () => this.#releaseMany(claims), (all) => all);
    if (all) { for (const { name } of targets) this.#freed(name); }
    return targets.map(() => all);
  }

  #releaseEach(sql: string, targets: readonly LockRef[]): boolean[] {
    return targets.map(({ name, owner }) => {
      const freed = this.#connection.run(sql, name, ownerText(owner)) > 0;
      if (freed) this.#freed(name);
      return freed;
    });
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
